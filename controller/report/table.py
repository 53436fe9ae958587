"""The answer as people read it in a terminal."""

import json
from typing import Any

from controller.act.actuator import Outcome
from controller.cycle import Cycle, EngineCycle
from controller.decide.decision import Action, Bounded
from controller.model.economics import Score
from controller.plain import plain
from controller.report.document import speculative_config
from controller.report.explain import explain


def table(cycle: Cycle, method: str | None = None, *, explained: bool = False) -> str:
    """A cycle in words and a table for each engine; engines of which only a failure is known are left out."""
    known = (engine for engine in cycle.engines if engine.window is not None or not cycle.failures)
    titled = ((each, f"{plain(each.model_name)} (engine {plain(each.engine)})") for each in known)
    return "\n\n".join(engine_text(each, title, method, explained=explained) for each, title in titled)


def line(engine: EngineCycle) -> str:
    """One engine in one line, for the demo: load, acceptance, k now, the k that looks best and its gain, the answer."""
    decision, window = engine.decision, engine.window
    if decision.batch is None or decision.k_best is None or window is None:
        return f"{decision.reason.value}: {decision.sentence}"
    best = decision.scores[decision.k_best]
    gain = Bounded(best.gain_ratio - 1, best.gain_low - 1, best.gain_high - 1)
    gained = f"{_margin_text(gain):>7} {_range(gain)}" if best.gain_high > best.gain_low else ""
    length = window.mean_acceptance_length
    answer = "hold" if decision.action is Action.HOLD else f"k={decision.k}"
    return (
        f"batch {decision.batch:5.1f}   acceptance length {'   -' if length is None else f'{length:4.2f}'}   "
        f"k now {_k_now(decision.k_now)}, best {best.k} {gained:28}   "
        f"-> {answer:5} {decision.reason.value}"
    )


def engine_text(engine: EngineCycle, title: str, method: str | None, *, explained: bool) -> str:
    """One engine in full, under a title."""
    decision = engine.decision
    lines = [title, "=" * len(title), *_facts(engine)]
    if decision.scores:
        lines += ["", *_scores(engine)]
    if explained:
        lines += ["", *explain(engine)]
    config = speculative_config(engine, method)
    if config is not None:
        lines += ["", f"{merging(config, many=engine.replicas is not None)}:", json.dumps(config)]
    return "\n".join(lines)


def merging(config: dict[str, Any], *, many: bool) -> str:
    """What a configuration is for. Live control wants one with every k in it; of a fleet no file holds one schedule."""
    source = "--schedule" if many else "--recommendation FILE"
    scheduled = "num_speculative_tokens_per_batch_size" in config
    live = f" (for live control: `controller launch-config {source}`)" if scheduled else ""
    return f"merge into your --speculative-config, method and model kept{live}"


def _facts(engine: EngineCycle) -> list[str]:
    decision, window = engine.decision, engine.window
    facts = [("answer", _answer(engine)), ("why", f"{decision.sentence} [{decision.reason.value}]")]
    if window is not None and window.step_seconds is not None and window.decode_batch is not None:
        length = window.mean_acceptance_length
        accepted = "" if length is None else f", acceptance length {length:.2f}"
        facts.append(
            (
                "now",
                (
                    f"k {_k_of(engine)}, batch {window.decode_batch:.1f}, "
                    f"{window.step_seconds * 1e3:.2f} ms a step{accepted}"
                ),
            )
        )
    if decision.margin is not None:
        facts.append(
            (
                "margin",
                (
                    f"{_margin_text(decision.margin)} {_range(decision.margin)}: speculation as it runs now against "
                    f"k=0 on this server ({decision.baseline.value})"
                ),
            )
        )
    if engine.acceptance is not None:
        facts.append(("accepted", _acceptance(engine)))
    return [f"{name:9}{text}" for name, text in facts]


def _answer(engine: EngineCycle) -> str:
    decision = engine.decision
    if decision.action is Action.HOLD:
        return "leave k as it is" if decision.scores else "none yet"
    verb = "run" if engine.acted.outcome is Outcome.RECOMMENDED else "set"
    what = "no speculation: k=0" if decision.action is Action.DISABLE else f"k={decision.k}"
    assert decision.gain is not None
    gain = Bounded(decision.gain.value - 1, decision.gain.low - 1, decision.gain.high - 1)
    return f"{verb} {what}, {_margin_text(gain)} throughput {_range(gain)}"


def _acceptance(engine: EngineCycle) -> str:
    acceptance = engine.acceptance
    assert acceptance is not None
    marks = [
        f"{value:.3f}" + ("" if position < acceptance.positions_observed else "*")
        for position, value in enumerate(acceptance.survival)
    ]
    text = "by position " + " ".join(marks)
    if acceptance.positions_observed < len(acceptance.survival):
        text += "  (* extrapolated)"
    if acceptance.coverage is not None and acceptance.coverage < 0.97:
        text += f", drafting in {acceptance.coverage:.0%} of steps"
    return text


def _scores(engine: EngineCycle) -> list[str]:
    decision = engine.decision
    header = "    k   tokens/step   ms/step   tokens/s (90% bounds)         against now"
    return [header, *(_score(score, _mark(engine, score.k)) for score in decision.scores)]


def _score(score: Score, mark: str) -> str:
    bounds = f"({score.tokens_per_second_low:,.0f} to {score.tokens_per_second_high:,.0f})"
    row = (
        f"{score.k:5}   {score.tokens_per_step:11.2f}   {score.step_seconds * 1e3:7.2f}   "
        f"{score.tokens_per_second:8,.0f} {bounds:<20} {score.gain_ratio - 1:+11.1%}"
    )
    return f"{row}   {mark}".rstrip()


def _mark(engine: EngineCycle, k: int) -> str:
    decision = engine.decision
    marks = []
    if decision.k_now is not None and round(decision.k_now) == k:
        marks.append("now")
    if decision.action is not Action.HOLD and decision.k == k:
        marks.append("<- recommended")
    elif decision.k_best == k and decision.k_best != decision.k:
        marks.append("(looks best)")
    return " ".join(marks)


def _k_of(engine: EngineCycle) -> str:
    if engine.decision.k_now is None:
        return f"not known, at most {engine.k_max} (drafts may fall short of it: --k tells it)"
    return f"{_k_now(engine.decision.k_now)} of at most {engine.k_max}"


def _k_now(k: float | None) -> str:
    return "?" if k is None else f"{k:.3g}"


def _margin_text(margin: Bounded | None) -> str:
    return "-" if margin is None else f"{margin.value:+.1%}"


def _range(bounds: Bounded) -> str:
    return f"({bounds.low:+.1%} to {bounds.high:+.1%})"

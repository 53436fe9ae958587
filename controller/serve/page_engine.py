"""One engine on the page: the answer first, then why, then what it rests on."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from controller.act.actuator import Outcome
from controller.cycle import EngineCycle
from controller.decide.decision import Action, Bounded
from controller.decide.review import Review, Verdict
from controller.reason import Reason
from controller.serve.log import NOT_APPLIED
from controller.serve.page_figures import figures
from controller.serve.page_history import Past
from controller.serve.page_lists import decisions, facts, workloads
from controller.serve.page_markup import Child, element
from controller.serve.page_overview import subtitle
from controller.serve.page_words import (
    age,
    batch_text,
    beyond_one,
    headline,
    k_text,
    meaning,
    name,
    percent,
    spread,
    words,
)

_VERDICTS = {Verdict.PENDING: "still measured", Verdict.KEPT: "kept", Verdict.WORSE: "taken back"}
_ROLLS = {
    Outcome.ROLLING: "The workload is being rolled.",
    Outcome.ROLLING_BACK: "The workload is being rolled back.",
    Outcome.HELD_BACK: "The workload is not rolled yet.",
}


def section(identity: str, engine: EngineCycle, past: Past, now: float, told_at: float, *, stale: bool) -> Element:
    """All of one engine.

    Args:
        identity: Unique on the page.
        engine: Its latest pass.
        past: What is remembered of it.
        now: Unix seconds at which the page is asked for.
        told_at: When the engine plugin was last asked.
        stale: Whether the engine's state is an old one, kept because a pass failed.
    """
    old = stale or engine.failure is not None
    known_at = past.good_unix_seconds
    told = f"State of {age(now - known_at)} ago" if old and known_at is not None else None
    return element(
        "section",
        element(
            "header",
            element("h2", name(engine.model_name)),
            element("p", subtitle(engine), class_="quiet"),
            element("p", told, class_="chip") if told else None,
            class_="title",
        ),
        *notices(engine),
        element("div", _answer(engine), figures(identity, engine), class_="state"),
        element(
            "div",
            element("section", element("h3", "Decisions"), decisions(past.entries, now), class_="decisions"),
            element(
                "section",
                element("h3", "Workloads"),
                workloads(engine.workloads, told_apart=_measures(engine)),
                class_="state",
            ),
            element("section", element("h3", "Control"), facts(list(_control(engine, now - told_at, old=old)))),
            class_="below",
        ),
        class_="engine stale" if old else "engine",
        id=identity,
    )


def notices(engine: EngineCycle) -> Iterator[Element]:
    """What is wrong with this engine, or out of the ordinary."""
    control, acted = engine.control, engine.acted
    if engine.failure is not None:
        yield notice(True, meaning(engine.failure.reason), engine.failure.message, engine.failure.reason)
    replicas = engine.replicas
    if engine.failure is None and replicas is not None and replicas.left_out:
        left = sum(count for _, count in replicas.left_out)
        yield notice(
            False, f"{left} of {replicas.known} replicas are left out.", replicas.message, replicas.left_out[0][0]
        )
    if acted.outcome is Outcome.FAILED and acted.reason is not None:
        yield notice(True, meaning(acted.reason), acted.message, acted.reason)
    if acted.outcome in _ROLLS:
        yield notice(False, _ROLLS[acted.outcome], acted.message)
    if control is not None and control.applied is False:
        yield notice(True, meaning(Reason.NOT_APPLIED), NOT_APPLIED, Reason.NOT_APPLIED)
    if acted.outcome is Outcome.FROZEN or (control is not None and control.frozen):
        yield notice(False, meaning(Reason.FROZEN), "What is in force is kept until they are released.", Reason.FROZEN)


def notice(problem: bool, title: str, text: str, reason: Reason | None = None) -> Element:
    """A box above everything that it concerns. The mark says the same as its colour."""
    return element(
        "div",
        element("span", "!" if problem else "i", class_="mark-sign", aria_hidden="true"),
        element(
            "p",
            element("strong", title),
            f" {words(text)} ",
            element("code", reason.value) if reason else None,
        ),
        class_="notice problem" if problem else "notice",
        role="group",
        aria_label="Problem" if problem else "Note",
    )


def _answer(engine: EngineCycle) -> Element:
    decision = engine.decision
    moves = decision.action in (Action.CHANGE, Action.DISABLE)
    gain = beyond_one(decision.gain) if decision.gain is not None and moves else None
    now, wanted = k_text(decision.k_now), k_text(decision.k)
    moved = decision.k is not None and now != wanted
    between = "\N{RIGHTWARDS ARROW}" if moved else "=" if decision.k is not None else ""
    return element(
        "div",
        element(
            "div",
            _number("k now", now, "number"),
            element("span", between, class_="arrow", aria_hidden="true"),
            _number("should be", wanted, "number wanted" if moved else "number"),
            class_="numbers",
        ),
        element(
            "div",
            element("p", headline(engine), class_="headline"),
            _gain(gain) if gain is not None else None,
            element("p", f"{words(decision.sentence)} ", element("code", decision.reason.value), class_="sentence"),
            class_="words",
        ),
        facts(list(_facts(engine)), class_="tiles"),
        class_="answer",
    )


def _number(label: str, shown: str, class_: str) -> Element:
    return element("p", element("span", label, class_="label"), " ", element("span", shown, class_=class_))


def _gain(gain: Bounded) -> Element:
    return element(
        "p", element("strong", f"{percent(gain.value)} throughput"), f" {spread(gain)}, with 90% bounds", class_="gain"
    )


def _facts(engine: EngineCycle) -> Iterator[tuple[str, Child, str]]:
    """What the answer rests on: a label, the value, and a remark."""
    decision, window = engine.decision, engine.window
    if decision.margin is not None:
        yield f"margin over k=0, {decision.baseline.value}", percent(decision.margin.value), spread(decision.margin)
    if decision.batch is not None:
        waiting = window.waiting if window is not None else 0.0
        yield "load", batch_text(decision.batch), f"requests, {batch_text(waiting)} waiting"
    if window is not None and window.mean_acceptance_length is not None:
        yield "tokens per draft", f"{window.mean_acceptance_length:.2f}", "the target's own included"
    if window is not None and window.step_seconds is not None:
        yield "engine step", f"{window.step_seconds * 1e3:.3g} ms", f"k is at most {engine.k_max}"


def _measures(engine: EngineCycle) -> bool:
    """Whether the engine plugin tells what it measures, workload by workload."""
    told = engine.control.speculation if engine.control is not None else None
    return told is not None and told.measured is not None


def _control(engine: EngineCycle, seconds_since: float, *, old: bool) -> Iterator[tuple[str, Child, str]]:
    control, acted = engine.control, engine.acted
    if acted.rollout:
        yield "changes", "by rolling the workload", "each one restarts the model"
        yield "rollout", acted.rollout.replace("_", " "), words(acted.message)
        return
    if control is None:
        yield "changes", "none are made", "this sidecar only recommends"
        return
    failing = acted.outcome is Outcome.FAILED
    yield "changes", "frozen" if control.frozen else "failing" if failing else "applied live", "by the engine plugin"
    told = control.speculation
    if told is None:
        yield "schedule", "not known", "the plugin could not be asked"
    elif told.owner is None:
        yield "schedule", "as launched", "nobody holds another"
    else:
        left = (told.expires_in_seconds or 0.0) - seconds_since
        if left > 0:
            yield "schedule held", f"for {age(left)} more", f"by {name(told.owner)}; renewed in good time"
        else:
            yield "schedule held", "no longer", "it ran out: a running engine is back at its launch schedule"
    if control.applied is not None and not old:
        yield "runs what is set", "yes" if control.applied else "no", "by the engine's own counters"
    if control.review is not None:
        yield _review(control.review)


def _review(review: Review) -> tuple[str, Child, str]:
    change = review.change
    promised = percent(change.predicted.value - 1)
    verdict = _VERDICTS[review.verdict]
    if review.realised is None:
        return f"k={change.k_before} to {change.k_after}", verdict, f"{promised} was expected"
    brought = beyond_one(review.realised)
    remark = f"{spread(brought)}; {promised} was expected; {verdict}"
    return f"k={change.k_before} to {change.k_after} brought", percent(brought.value), remark

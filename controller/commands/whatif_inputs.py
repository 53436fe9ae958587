"""From the options of `controller whatif` to one question; what is missing or contradicts itself is refused here."""

import math
from dataclasses import dataclass
from typing import Final

from controller.model.draft_model import implied_draft_seconds
from controller.model.speedup import acceptance_from_mean_length, expected_tokens, saturation
from controller.model.whatif import StepCost, tokens_of_survival
from controller.options.base import SettingsError
from controller.options.whatif import WhatIfOptions
from controller.report.saved import SavedServer, read
from controller.report.whatif import Implied, Question

K_MAX: Final = 8
"""How far one constant rate is followed when nothing else is said."""


@dataclass(frozen=True, slots=True)
class _Acceptance:
    """E(k) for k = 0, 1, ..., and where it comes from."""

    tokens: tuple[float, ...]
    words: str


def question(options: WhatIfOptions) -> Question:
    """Everything the options say.

    Raises:
        SettingsError: Something is missing, impossible, or stated twice.
    """
    saved = _saved(options)
    _refuse_contradictions(options, saved)
    acceptance = _acceptance(options, saved)
    k_max = len(acceptance.tokens) - 1
    if options.k is not None and options.k > k_max:
        raise SettingsError(f"--k {options.k} is beyond the largest k, {k_max}: raise --k-max, or give more positions")
    batch = options.batch or (saved.batch if saved else 1.0)
    try:
        return _priced(options, saved, acceptance, batch)
    except ValueError as error:
        raise SettingsError(str(error)) from error


def states_cost(options: WhatIfOptions) -> bool:
    """Whether an option says what a draft costs."""
    return any(each is not None for each in (options.c, options.draft_tpot_ms, options.observed_tpot_ms))


def states_acceptance(options: WhatIfOptions) -> bool:
    """Whether an option says how often drafts are accepted."""
    return any(each is not None for each in (options.alpha, options.acceptance, options.mean_length))


def _saved(options: WhatIfOptions) -> SavedServer | None:
    if options.recommendation is None:
        return None
    try:
        return read(options.recommendation)
    except ValueError as error:
        raise SettingsError(f"--recommendation: {error}") from error


def _refuse_contradictions(options: WhatIfOptions, saved: SavedServer | None) -> None:
    stated = [name for name in ("alpha", "acceptance", "mean_length") if getattr(options, name) is not None]
    if len(stated) > 1:
        raise SettingsError(f"{' and '.join(map(_flag, stated))} state the same thing: give one of them")
    problems = {
        "how often drafts are accepted is missing: give --alpha, --acceptance, --mean-length with --k, or "
        "--recommendation with a saved answer": not stated and saved is None,
        "what a draft costs is missing: give --c; or --target-tpot-ms with --draft-tpot-ms or --observed-tpot-ms; or "
        "--recommendation with a saved answer": not states_cost(options) and saved is None,
        "--c and --draft-tpot-ms both state what a draft costs: give one of them": None
        not in (options.c, options.draft_tpot_ms),
        "--draft-tpot-ms and --observed-tpot-ms want --target-tpot-ms beside them": options.target_tpot_ms is None
        and (options.draft_tpot_ms is not None or options.observed_tpot_ms is not None),
        "--observed-tpot-ms wants --k, the k at which it was observed": options.observed_tpot_ms is not None
        and options.k is None,
        "--batch changes nothing without --half-batch: give both, or neither": options.batch is not None
        and options.half_batch is None,
        "--recommendation has nothing left to say, since options state both acceptance and cost: leave one of them "
        "out": saved is not None and bool(stated) and states_cost(options),
        "--target-tpot-ms and --overhead contradict the step times of --recommendation: leave them out, or state the "
        "cost with --c": saved is not None
        and not states_cost(options)
        and (options.target_tpot_ms is not None or options.overhead > 0),
    }
    for problem, there in problems.items():
        if there:
            raise SettingsError(problem)


def _acceptance(options: WhatIfOptions, saved: SavedServer | None) -> _Acceptance:
    if options.acceptance is not None:
        try:
            tokens = tokens_of_survival(_numbers(options.acceptance, "acceptance"))
        except ValueError as error:
            raise SettingsError(f"--acceptance: {error}") from error
        found = _Acceptance(tokens, f"by position, unconditional: {options.acceptance}")
    elif options.alpha is not None:
        found = _constant(options, saved, options.alpha, f"alpha {options.alpha:g} at every position")
    elif options.mean_length is not None:
        found = _from_mean_length(options, saved, options.mean_length)
    else:
        assert saved is not None
        found = _Acceptance(tuple(score.tokens_per_step for score in saved.scores), "as saved in --recommendation")
    return _cut(found, options, saved)


def _cut(found: _Acceptance, options: WhatIfOptions, saved: SavedServer | None) -> _Acceptance:
    """No further than asked for, and than the saved step times reach."""
    known = len(found.tokens) - 1
    if options.k_max is not None and options.k_max > known:
        raise SettingsError(f"--k-max {options.k_max} is beyond what is known: acceptance is given up to k={known}")
    k_max = options.k_max or known
    if saved is not None and not states_cost(options):
        timed = len(saved.scores) - 1
        if options.k_max is not None and options.k_max > timed:
            raise SettingsError(
                f"--k-max {options.k_max} is beyond what is known: step times are saved up to k={timed}"
            )
        k_max = min(k_max, timed)
    return _Acceptance(found.tokens[: k_max + 1], found.words)


def _from_mean_length(options: WhatIfOptions, saved: SavedServer | None, text: str) -> _Acceptance:
    lengths = _numbers(text, "mean_length")
    if len(lengths) > 1:
        for k, length in enumerate(lengths, 1):
            _refuse_impossible_length(length, k)
        return _Acceptance((1.0, *lengths), f"mean length measured at k=1..{len(lengths)}: {text}")
    if options.k is None:
        raise SettingsError(
            "--mean-length wants --k, the k at which it was measured; or one length each for k=1,2,3,..., with commas"
        )
    _refuse_impossible_length(lengths[0], options.k)
    alpha = acceptance_from_mean_length(lengths[0], options.k)
    words = (
        f"alpha {alpha:.3f} from a mean length of {lengths[0]:g} at k={options.k}; beyond it the same, which flatters "
        "EAGLE and MTP"
    )
    return _constant(options, saved, alpha, words)


def _constant(options: WhatIfOptions, saved: SavedServer | None, alpha: float, words: str) -> _Acceptance:
    timed = len(saved.scores) - 1 if saved is not None and not states_cost(options) else K_MAX
    k_max = options.k_max or max(timed, options.k or 0)
    return _Acceptance(tuple(float(expected_tokens(alpha, k)) for k in range(k_max + 1)), words)


def _priced(options: WhatIfOptions, saved: SavedServer | None, acceptance: _Acceptance, batch: float) -> Question:
    k_max = len(acceptance.tokens) - 1
    if saved is not None and not states_cost(options):
        seconds = [score.step_seconds for score in saved.scores[: k_max + 1]]
        cost = StepCost.of_steps(seconds, saved.batch, options.half_batch)
        words = f"step times as saved in --recommendation, at a batch of {saved.batch:.3g}"
        k_now = options.k if saved.k_now is None else round(saved.k_now)
        half = options.half_batch or math.inf
        grown = 1.0 if math.isinf(half) else (batch + half) / (saved.batch + half)  # a step at k=0 is t0 + t1 B
        target_ms = seconds[0] * 1e3 * grown
        return Question(acceptance.tokens, acceptance.words, cost, words, batch, target_ms, k_now)
    implied = _implied(options, acceptance.tokens, batch)
    c, words = _ratio(options, implied)
    if options.overhead:
        words += f", and {options.overhead:g} for drafting at all"
    cost = StepCost.of_ratio(c, k_max, options.overhead, options.half_batch)
    observed = None if options.c is None and options.draft_tpot_ms is None else implied
    return Question(
        acceptance.tokens, acceptance.words, cost, words, batch, options.target_tpot_ms, options.k, observed
    )


def _ratio(options: WhatIfOptions, implied: Implied | None) -> tuple[float, str]:
    """c, and where it comes from."""
    if options.c is not None:
        return options.c, f"c = {options.c:g} of a step a draft"
    assert options.target_tpot_ms is not None
    if options.draft_tpot_ms is not None:
        c, words = options.draft_tpot_ms / options.target_tpot_ms, "the drafter alone"
        draft_ms = options.draft_tpot_ms
    else:
        assert implied is not None
        c, words = implied.draft_ms / options.target_tpot_ms, "implied by --observed-tpot-ms"
        draft_ms = implied.draft_ms
    return c, f"c = {c:.4f}: {draft_ms:.3g} ms a draft ({words}) to {options.target_tpot_ms:g} ms a step"


def _implied(options: WhatIfOptions, tokens: tuple[float, ...], batch: float) -> Implied | None:
    if options.observed_tpot_ms is None:
        return None
    assert options.target_tpot_ms is not None
    assert options.k is not None
    share = 0.0 if options.half_batch is None else float(saturation(batch, options.half_batch))
    verify_ms = options.target_tpot_ms * (1 + options.overhead + share * options.k)
    draft_ms = implied_draft_seconds(verify_ms, options.observed_tpot_ms, tokens[options.k], options.k)
    c = draft_ms / options.target_tpot_ms
    cost = StepCost.of_ratio(c, len(tokens) - 1, options.overhead, options.half_batch)
    alone_ms = options.target_tpot_ms * options.c if options.c is not None else options.draft_tpot_ms
    return Implied(cost, draft_ms, options.observed_tpot_ms, alone_ms)


def _refuse_impossible_length(length: float, k: int) -> None:
    if not 1 <= length <= k + 1:
        raise SettingsError(
            f"--mean-length {length:g} at k={k} is outside 1..{k + 1}: it counts the bonus token, so add 1 to a mean "
            "of accepted drafts"
        )


def _numbers(text: str, name: str) -> tuple[float, ...]:
    try:
        values = tuple(float(each) for each in text.replace(",", " ").split())
    except ValueError:
        values = ()
    if not values or not all(map(math.isfinite, values)):
        raise SettingsError(f"{_flag(name)} must be numbers with commas between them, such as 0.68,0.39,0.20")
    return values


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"

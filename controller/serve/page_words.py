"""The status page's words and numbers: short, the same everywhere, and fit for a screen reader."""

from typing import Final

from controller.act.actuator import Outcome
from controller.clock import utc_text
from controller.cycle import EngineCycle
from controller.decide.decision import Action, Bounded
from controller.plain import plain
from controller.reason import MEANING, Reason

NAME_MAX: Final = 64
"""Characters of a name from outside that are shown."""
TEXT_MAX: Final = 600
NOTHING: Final = "\N{EN DASH}"
"""Stands where a number is not known."""
_UNANSWERED: Final[dict[Reason, str]] = {
    Reason.WARMING_UP: "Warming up",
    Reason.NOT_ENOUGH_EVIDENCE: "Gathering evidence",
    Reason.IDLE: "The server is idle",
    Reason.NOTHING_DRAFTED: "Nothing is drafted",
    Reason.NO_SPECULATION: "No speculation",
    Reason.FROZEN: "Frozen: nothing changes",
    Reason.STOOD_DOWN: "Keeping out",
    Reason.TARGET_MET: "Leave k as it is: the target is met",
    Reason.PROBE_ENDED: "Back from measuring",
}
"""What a pass is called that changes nothing for another reason than that k is right."""

_UNFINISHED: Final = {
    Outcome.FAILED: "could not be set",
    Outcome.FROZEN: "is due, but changes are frozen",
    Outcome.HELD_BACK: "is due, but held back",
    Outcome.ROLLING: "is being rolled out",
    Outcome.ROLLING_BACK: "is due; an earlier change is rolled back first",
}
"""What is said of a k that is wanted and not yet there."""


def name(text: str) -> str:
    """A name from outside, on one line and short.

    >>> name("chat<br>")
    'chat<br>'
    """
    return plain(text, NAME_MAX)


def words(text: str) -> str:
    """A sentence that may hold words from outside."""
    return plain(text, TEXT_MAX)


def answer(  # noqa: PLR0911  (one return for each kind of answer)
    action: Action | None, reason: Reason, k: int | None, outcome: Outcome
) -> str:
    """What a pass says to do, or did, in a few words.

    >>> answer(Action.CHANGE, Reason.FASTER_K, 5, Outcome.RECOMMENDED)
    'Run k=5'
    >>> answer(Action.CHANGE, Reason.FASTER_K, 5, Outcome.APPLIED)
    'k=5 is set'
    """
    match action:
        case None:
            return meaning(reason).removesuffix(".")
        case Action.HOLD:
            return _UNANSWERED.get(reason, "Leave k as it is")
        case Action.ROLL_BACK:
            return f"Back to k={k}"
        case Action.PROBE:
            return f"Measuring k={k}"
        case _ if reason is Reason.OTHER_BATCHES:
            return "k stays here; other loads change"
        case _ if outcome in (Outcome.APPLIED, Outcome.RENEWED, Outcome.HELD):
            return f"k={k} is set" if k else "Drafting is off: k=0 is set"
        case _ if outcome in _UNFINISHED:
            return f"k={k} {_UNFINISHED[outcome]}"
        case _:
            return f"Run k={k}" if k else "Stop drafting: run k=0"


def headline(engine: EngineCycle) -> str:
    """The answer of one engine's pass."""
    decision = engine.decision
    if decision.action is Action.HOLD and not decision.scores and decision.reason not in _UNANSWERED:
        return "No answer yet"
    return answer(decision.action, decision.reason, decision.k, engine.acted.outcome)


def meaning(reason: Reason) -> str:
    """A reason as a sentence of its own.

    >>> meaning(Reason.IDLE)
    'No tokens were decoded in the window.'
    """
    text = MEANING[reason]
    return f"{text[0].upper()}{text[1:]}."


def k_text(k: float | None) -> str:
    """A k, which may be a mean.

    >>> k_text(3.0), k_text(2.714), k_text(None) == NOTHING
    ('3', '2.7', True)
    """
    return NOTHING if k is None else f"{round(k, 1):g}"


def percent(value: float) -> str:
    """A change, with its sign.

    >>> percent(0.1234)
    '+12.3%'
    """
    return f"{value:+.1%}"


def spread(bounds: Bounded) -> str:
    """The bounds of a change.

    >>> spread(Bounded(0.12, 0.05, 0.2))
    '+5.0% to +20.0%'
    """
    return f"{percent(bounds.low)} to {percent(bounds.high)}"


def beyond_one(ratio: Bounded) -> Bounded:
    """A ratio as a change: 1.12 is +12%."""
    return Bounded(ratio.value - 1, ratio.low - 1, ratio.high - 1)


def age(seconds: float) -> str:
    """How long ago, roughly; a clock that was set back gives 0 s.

    >>> age(-1.0), age(89.0), age(150.0), age(7200.0), age(200_000.0)
    ('0 s', '89 s', '2 min', '2 h', '2 days')
    """
    for limit, size, unit in ((90.0, 1.0, "s"), (5400.0, 60.0, "min"), (129_600.0, 3600.0, "h")):
        if seconds < limit:
            return f"{max(0, int(seconds / size))} {unit}"
    return f"{int(seconds / 86_400.0)} days"


def clock_text(unix_seconds: float) -> str:
    """The time of day, in UTC.

    >>> clock_text(3661.0)
    '01:01:01'
    """
    return utc_text(unix_seconds)[11:19]


def rate(tokens_per_second: float) -> str:
    """A throughput, to three digits or to the token.

    >>> rate(1234.5), rate(12.34)
    ('1,234', '12.3')
    """
    return f"{tokens_per_second:,.0f}" if tokens_per_second >= 100 else f"{tokens_per_second:.3g}"


def batch_text(batch: float) -> str:
    """A load in decoding requests.

    >>> batch_text(7.96), batch_text(252.4)
    ('8', '252')
    """
    return f"{batch:.0f}" if batch >= 99.5 else f"{round(batch, 1):g}"

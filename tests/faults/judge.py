"""How a fault is played, and what has to hold of it, whichever it is."""

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from faults.fault import Fault, Meanwhile
from faults.of_page import RESOLVING
from faults.stage import INTERVAL_SECONDS, STREAMS, Pass, Stage

from controller.reason import ACTING_FAILED, DECIDED, OBSERVING_FAILED, Reason

BEGIN_SECONDS: Final = 45.0
AFTER_PASSES: Final = 4
"""So many normal passes are waited for."""
SHORTEST_PAUSE: Final = 0.9 * 0.3 / 2
"""In intervals: a probe's, and half of it after a pass that took long."""


@dataclass(frozen=True, slots=True)
class Play:
    """What came of a fault.

    Attributes:
        fault: Which.
        before: Passes until it came.
        during: While it lasted.
        after: From its end on.
        launched: Whether the engine was at its launch schedule when it ended.
        page: The sidecar's own metrics then.
        outlived: See `Stage`.
    """

    fault: Fault
    before: tuple[Pass, ...]
    during: tuple[Pass, ...]
    after: tuple[Pass, ...]
    launched: bool
    page: str
    outlived: tuple[float, ...]

    @property
    def passes_until_normal(self) -> int:
        """From the end of the fault on; 0 when nothing ever was otherwise."""
        odd = [number for number, each in enumerate(self.after, 1) if not normal(each)]
        disturbed = self.fault.sees or not all(map(normal, self.during))
        return odd[-1] + 1 if odd else int(bool(disturbed))


def play(fault: Fault, folder: Path, learnt: bytes) -> Play:
    """A settled sidecar, the fault, and what follows."""
    end = BEGIN_SECONDS + fault.lasts_seconds
    with RESOLVING, ExitStack() as inflicted:
        stage = Stage(folder, fault.setting, learnt)
        ended: list[tuple[bool, str]] = []

        def finish() -> None:
            ended.append((stage.launched, stage.metrics()))
            inflicted.close()

        try:
            stage.at(BEGIN_SECONDS, lambda: inflicted.enter_context(fault.inflict(stage)))
            stage.at(end, finish)
            stage.run(end + (fault.normal_passes + AFTER_PASSES) * INTERVAL_SECONDS)
        finally:
            stage.close()
    (launched, page), passes = ended[0], stage.passes
    return Play(
        fault,
        tuple(each for each in passes if each.at_seconds < BEGIN_SECONDS),
        tuple(each for each in passes if BEGIN_SECONDS <= each.at_seconds < end),
        tuple(each for each in passes if end <= each.at_seconds),
        launched,
        page,
        tuple(stage.outlived),
    )


def probing(each: Pass) -> bool:
    """Whether another k is measured for a moment."""
    return any(line.get("action") == "probe" for line in each.log)


def normal(each: Pass) -> bool:
    """Whether nothing is wrong, and the engine runs what is best for it, or what is measured for a moment."""
    controlled = len(each.advice) == 1
    return not each.failures and (not controlled or probing(each) or abs(each.k - each.best_k) <= 1)


def check_pace(play: Play) -> None:
    """No busy loop and no standstill: passes keep their pace, whatever each of them finds."""
    passes = (*play.before, *play.during, *play.after)
    for early, late in pairwise(passes):
        pause = late.at_seconds - early.at_seconds
        assert pause >= SHORTEST_PAUSE * INTERVAL_SECONDS, (early, late)
        if refused(early) and refused(late):  # nothing can be measured, so that there is nothing to hurry for
            assert pause >= 0.9 * INTERVAL_SECONDS
    assert all(each.alive for each in passes)


def check_last_good_state(play: Play) -> None:
    """While no page can be used, the port goes on to tell what was last good."""
    for early, late in pairwise((*play.before, *play.during)):
        if late.blind and early.advice:
            assert late.advice == early.advice


def check_engine(play: Play) -> None:
    """The engine runs what the fault's row says, and never for longer than its time to live what nobody renewed."""
    assert play.outlived == ()
    held = play.before[-1].schedule
    if play.fault.meanwhile is Meanwhile.HELD:
        assert {each.schedule for each in (*play.during, play.after[0])} == {held}
    if play.fault.meanwhile in (Meanwhile.LAUNCH, Meanwhile.RESET):
        assert play.launched
    if play.fault.meanwhile is Meanwhile.AGAIN:
        assert any(each.schedule != held for each in play.during)
        assert play.during[-1].schedule == held
    if play.fault.meanwhile is Meanwhile.THEIRS:
        assert {each.k for each in play.during} == {3}


def check_clients(play: Play) -> None:
    """All clients of the model are served for as long as its engine runs; none is lost, and no engine restarted."""
    restarts = len(play.fault.setting.scenario.events)
    stands_still = restarts > 0 or Reason.IDLE in play.fault.sees
    for early, late in pairwise((*play.before, *play.during, *play.after)):
        assert late.clients == STREAMS
        assert late.starts <= 1 + restarts
        assert stands_still or late.tokens != early.tokens  # fewer: it is another server


def check_seen(play: Play) -> None:
    """The operator finds the fault by its name, in the log and in the metrics; and no other failure beside it."""
    logged = {line["reason"] for each in play.during for line in each.log if "reason" in line}
    assert set(play.fault.sees) <= logged
    for reason in play.fault.sees:
        family = family_of(reason)
        assert family is None or counted(play.page, family, reason) > 0
    failed = {reason for each in play.during for reason in each.failures}
    assert failed <= set(play.fault.sees)
    assert [each.failures for each in play.before] == [()] * len(play.before)


def check_back_to_normal(play: Play) -> None:
    """All is as before in as many passes as the row says."""
    assert normal(play.before[-1])
    assert play.passes_until_normal <= play.fault.normal_passes
    assert len(play.after) > play.fault.normal_passes
    at_rest = [each for each in play.after[play.fault.normal_passes :] if not probing(each)]
    assert at_rest  # what is measured for a moment does not go on for ever
    assert len(at_rest[-1].advice) == len(play.before[-1].advice)


def refused(each: Pass) -> bool:
    """Whether the engine did not take what was wanted."""
    return any(Reason(reason) in ACTING_FAILED for reason in each.failures)


def family_of(reason: Reason) -> str | None:
    """The metric that counts it; what could not be kept is in the log alone."""
    families = {
        "failures_total": OBSERVING_FAILED,
        "actuation_failures_total": ACTING_FAILED,
        "decisions_total": DECIDED,
    }
    return next((f"adaptive_k_{name}" for name, reasons in families.items() if reason in reasons), None)


def counted(page: str, family: str, reason: Reason) -> float:
    """Over all engines."""
    lines = (line for line in page.splitlines() if line.startswith(family) and f'reason="{reason.value}"' in line)
    return sum(float(line.rpartition(" ")[2]) for line in lines)

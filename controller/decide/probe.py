"""A probe runs another k for a few windows to measure it: when one begins, and how it ends."""

from dataclasses import replace
from typing import Final

from controller.decide.course import PROBE_REACH, Course, Probe
from controller.decide.decision import Action, Bounded, Decision
from controller.decide.explore import overdue, worth_measuring
from controller.decide.moment import Moment, on_target, under_pressure
from controller.decide.policy_settings import PolicySettings
from controller.decide.schedule import near, overlaid
from controller.decide.sentence import percent
from controller.model.economics import Score
from controller.reason import Reason

PROBE_WINDOWS: Final = 6
"""A probe from which nothing more is expected ends after this many windows."""
LONGEST_WINDOWS: Final = 12
"""A probe that is still not clear after so many makes room for what it is compared with: that ran too little, or long
ago, and no number of windows of the other k makes it better known. It may begin again in the next pass."""
PROVING_WINDOWS: Final = 3
"""A probe that ran this long becomes a change when its gain clears the minimum and its lower bound shows no loss worth
the name; the review that follows looks at what it really brings."""
_IDLE_SHARE: Final = 0.25
"""Probes begin in three of four passes at random, so that many sidecars do not probe in step with each other."""


def due(
    base: Decision,
    course: Course,
    home_k: int,
    moment: Moment,
    settings: PolicySettings,
    impossible: frozenset[int],
) -> Score | None:
    """The k to probe from now on; None when nothing is worth it, or this is not the time."""
    ignorant = base.reason is Reason.NOT_ENOUGH_EVIDENCE and home_k > 0  # traffic teaches by itself, unlike at k=0
    if ignorant or moment.chance < _IDLE_SHARE or under_pressure(moment, settings) or on_target(moment, settings):
        return None
    barred = impossible | _resting(base, course, moment, settings)
    score = worth_measuring(base.scores, home_k, moment.positions_observed, course.account, settings, barred)
    if score is not None or home_k > 0:
        return score
    possible = [each for each in base.scores if each.k not in impossible]
    return overdue(possible, moment.blank, moment.blind_seconds, moment.chance, course.account, settings)


def begun(base: Decision, course: Course, score: Score, home_k: int) -> tuple[Decision, Course]:
    """A probe of this k at the present load."""
    assert base.batch is not None
    return _measuring(base, course, score, home_k), replace(course, probe=Probe(score.k, base.batch))


def proceed(
    base: Decision, course: Course, probe: Probe, home_k: int, moment: Moment, settings: PolicySettings
) -> tuple[Decision, Course]:
    """Go on while it is undecided and affordable; end it when it cannot win any more."""
    assert base.batch is not None
    score, windows = base.scores[probe.k], probe.windows + 1
    elsewhere = not 1 / PROBE_REACH <= base.batch / probe.batch <= PROBE_REACH
    hopeless = score.gain_high < 1 + settings.minimum_gain or score.gain_ratio < 1
    gainful = score.gain_ratio >= 1 + settings.minimum_gain
    if windows >= PROVING_WINDOWS and gainful and score.gain_low >= 1 - settings.minimum_gain:
        return _proven(base, course, score, home_k, moment, settings)
    broke = (course.account.seconds or 0.0) <= 0.0
    undecided = (windows >= PROBE_WINDOWS and not gainful) or broke  # to stay where more is expected costs nothing
    over = windows >= LONGEST_WINDOWS and score.step_measured  # an engine that ignores it is told of, not probed anew
    if not (hopeless or undecided or over or elsewhere or under_pressure(moment, settings)):
        return _measuring(base, course, score, home_k), replace(course, probe=replace(probe, windows=windows))
    gain = Bounded(score.gain_ratio, score.gain_low, score.gain_high)
    decision = replace(
        base,
        reason=Reason.PROBE_ENDED,
        schedule=course.home,
        sentence=(
            f"k={probe.k} ran for {windows} window{'s' * (windows > 1)} and yields {percent(gain)} over k={home_k}: "
            f"{'not clear yet' if gainful else 'not enough to change'}. Back to k={home_k}."
        ),
    )
    bars = course.bars
    if hopeless or undecided:
        bars = course.with_bar(probe.k, base.batch, moment, settings, probes_only=True)
    return decision, replace(course, probe=None, bars=bars)


def _proven(
    base: Decision, course: Course, score: Score, home_k: int, moment: Moment, settings: PolicySettings
) -> tuple[Decision, Course]:
    """A probe that measured a gain becomes a change: going back could only lose."""
    assert base.batch is not None
    gain = Bounded(score.gain_ratio, score.gain_low, score.gain_high)
    decision = replace(
        base,
        action=Action.CHANGE if score.k else Action.DISABLE,
        reason=Reason.FASTER_K if score.k else Reason.SPECULATION_LOSES,
        k=score.k,
        gain=gain,
        schedule=overlaid(base.schedule or course.home, [(*near(base.batch, settings.max_batch), score.k)],
                          settings.max_batch),
        sentence=f"k={score.k} was measured to yield {percent(gain)} over k={home_k} at a batch of {base.batch:.3g}.",
    )  # fmt: skip
    return decision, course.changed(decision, home_k, moment.now_seconds)


def _measuring(base: Decision, course: Course, score: Score, home_k: int) -> Decision:
    gain = Bounded(score.gain_ratio, score.gain_low, score.gain_high)
    why = Reason.PROBING_OUT_OF_K0 if home_k == 0 else Reason.EXPLORING
    return replace(
        base,
        action=Action.PROBE,
        reason=why,
        k=score.k,
        schedule=course.home,
        gain=gain,
        sentence=(
            f"k={score.k} may yield {percent(gain)} over k={home_k} at a batch of {base.batch:.3g}: "
            "it runs for a few windows to measure it."
        ),
    )


def _resting(base: Decision, course: Course, moment: Moment, settings: PolicySettings) -> frozenset[int]:
    """The ks that are not measured now: those taken back, and those measured in vain that still promise nothing."""
    assert base.batch is not None
    taken_back = course.barred(base.batch, moment.now_seconds, probes=False)
    measured = course.barred(base.batch, moment.now_seconds, probes=True)
    promising = {score.k for score in base.scores if score.gain_ratio >= 1 + settings.minimum_gain}
    return taken_back | (measured - promising)

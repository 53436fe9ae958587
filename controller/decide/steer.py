"""From the answer of one pass to the schedule that is wanted from now on: changes, probes, reviews, rests."""

from dataclasses import dataclass, replace
from typing import Final

from controller.decide.decision import Action, Bounded, Decision, Schedule
from controller.decide.explore import NEW_ACCOUNT, Account, overdue, worth_measuring
from controller.decide.policy_settings import PolicySettings
from controller.decide.review import Change, Realised, Review, Verdict, remembered_windows, review
from controller.decide.schedule import k_at, near, overlaid
from controller.decide.sentence import percent
from controller.model.economics import Score
from controller.observe.speculation import Speculation
from controller.reason import Reason

PROBE_WINDOWS: Final = 6
"""A probe from which nothing more is expected ends after this many windows."""
PROVING_WINDOWS: Final = 3
"""A probe that ran this long becomes a change when its gain clears the minimum and its lower bound shows no loss worth
the name; the review that follows looks at what it really brings."""
PROBE_REACH: Final = 1.5
"""A probe holds for batches within this factor of the load it was meant for."""
FIRST_BAR_INTERVALS: Final = 30.0
"""A k that was taken back rests for so long, 5 minutes by default; twice as long each time that it happens."""
LONGEST_BAR_INTERVALS: Final = 1440.0
QUIET_REQUESTS: Final = 0.5
"""More requests than this in the queue, on average, are latency pressure: nothing is explored then."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A k that is left alone for a while, about one load.

    Attributes:
        k: It.
        batch: The load.
        until_seconds: On a monotonic clock.
        seconds: How long it was barred the last time.
        probes_only: Whether it may be chosen, only not measured.
    """

    k: int
    batch: float
    until_seconds: float
    seconds: float
    probes_only: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """A k that runs to be measured.

    Attributes:
        k: It.
        batch: The load it was meant for.
        windows: How many windows it has run.
    """

    k: int
    batch: float
    windows: int = 0


@dataclass(frozen=True, slots=True)
class Course:
    """What live control remembers of one engine between passes.

    Attributes:
        home: The schedule that holds apart from probes; empty until the launch schedule is known.
        before: The schedule before the change under review.
        changed_at_seconds: When `home` last changed at the load of then.
        refined_at_seconds: When it last changed at other batch sizes only.
        change: The change under review.
        probe: The probe that runs.
        windows: What recent windows yielded.
        account: What exploration may still cost.
        bars: The ks that are left alone.
        latest: The latest review, kept to be looked at.
        borrowed: Whether `home` is what somebody else holds.
    """

    home: Schedule = ()
    before: Schedule = ()
    changed_at_seconds: float | None = None
    refined_at_seconds: float | None = None
    change: Change | None = None
    probe: Probe | None = None
    windows: tuple[Realised, ...] = ()
    account: Account = NEW_ACCOUNT
    bars: tuple[Bar, ...] = ()
    latest: Review | None = None
    borrowed: bool = False

    def barred(self, batch: float, now_seconds: float, *, probes: bool) -> frozenset[int]:
        """The ks that are left alone at a load."""
        return frozenset(
            bar.k
            for bar in self.bars
            if bar.until_seconds > now_seconds and 0.5 <= bar.batch / batch <= 2.0 and (probes or not bar.probes_only)
        )

    def wanted(self, max_batch: int) -> Schedule:
        """The schedule that is to be in force: `home`, and the probe on top."""
        if self.probe is None:
            return self.home
        low = max(1, int(self.probe.batch / PROBE_REACH))
        return overlaid(self.home, [(low, max(low, round(self.probe.batch * PROBE_REACH)), self.probe.k)], max_batch)


@dataclass(frozen=True, slots=True)
class Moment:
    """What steering needs to know of a pass beside its decision.

    Attributes:
        now_seconds: On a monotonic clock.
        realised: What the window yielded; None when it ran more than one k.
        positions_observed: Draft positions that were seen.
        waiting: Requests in the queue.
        tpot_seconds: Time per output token; None when it is not known.
        chance: A number from 0 to 1, drawn anew for each pass.
        blind_seconds: Since something was last drafted.
        blank: Every k as it would be priced if nothing were known of acceptance; empty unless k is 0.
    """

    now_seconds: float
    realised: Realised | None
    positions_observed: int
    waiting: float
    tpot_seconds: float | None
    chance: float
    blind_seconds: float = 0.0
    blank: tuple[Score, ...] = ()


def steer(  # noqa: PLR0911  (one return for each thing that can be done)
    base: Decision,
    course: Course,
    moment: Moment,
    settings: PolicySettings,
    impossible: frozenset[int] = frozenset(),
) -> tuple[Decision, Course]:
    """What to do about the answer of this pass, and what to remember.

    In this order: take back what proved worse; do what is clear; go on with a probe, or end it; give other batch
    sizes what is clear for them; begin a probe; rest.

    Args:
        base: The answer, compared with `course.home`.
        course: What is remembered.
        moment: The pass.
        settings: What the operator wants.
        impossible: The ks that this engine cannot run.

    Returns:
        The decision, whose `schedule` is the lasting one, and the course; `course.wanted` is what is to be in force.
    """
    assert base.batch is not None
    home_k = k_at(course.home, max(1, round(base.batch))) or 0
    lost = max(0.0, 1 - base.scores[course.probe.k].gain_ratio) if course.probe is not None else 0.0
    course = replace(
        course,
        account=course.account.after(moment.now_seconds, lost, settings),
        windows=course.windows if moment.realised is None else remembered_windows(course.windows, moment.realised),
        bars=tuple(bar for bar in course.bars if bar.until_seconds + bar.seconds > moment.now_seconds),
    )
    course = _reviewed(course)
    if course.latest is not None and course.latest.verdict is Verdict.WORSE and course.change is not None:
        return _rolled_back(base, course, course.latest, moment, settings)
    if base.action in (Action.CHANGE, Action.DISABLE):
        return base, _changed(base, course, home_k, moment)
    if course.probe is not None:
        return _probing(base, course, course.probe, home_k, moment, settings)
    if base.schedule and base.schedule != course.home and not _just_refined(course, moment, settings):
        other = replace(base, action=Action.CHANGE, reason=Reason.OTHER_BATCHES, sentence=_other(base, home_k))
        return other, replace(course, home=base.schedule, refined_at_seconds=moment.now_seconds)
    rest = replace(base, schedule=course.home)
    ignorant = base.reason is Reason.NOT_ENOUGH_EVIDENCE and home_k > 0  # traffic teaches by itself, unlike at k=0
    if ignorant or moment.chance < _IDLE_SHARE or under_pressure(moment, settings) or _on_target(moment, settings):
        return rest, course
    barred = impossible | _resting(base, course, moment, settings)
    score = worth_measuring(base.scores, home_k, moment.positions_observed, course.account, settings, barred)
    if score is None and home_k == 0:
        possible = [each for each in base.scores if each.k not in impossible]
        score = overdue(possible, moment.blank, moment.blind_seconds, moment.chance, course.account, settings)
    if score is None:
        return rest, course
    return _measuring(base, course, score, home_k), replace(course, probe=Probe(score.k, base.batch))


_IDLE_SHARE: Final = 0.25
"""Probes begin in three of four passes at random, so that many sidecars do not probe in step with each other."""


def _resting(base: Decision, course: Course, moment: Moment, settings: PolicySettings) -> frozenset[int]:
    """The ks that are not measured now: those taken back, and those measured in vain that still promise nothing."""
    assert base.batch is not None
    taken_back = course.barred(base.batch, moment.now_seconds, probes=False)
    measured = course.barred(base.batch, moment.now_seconds, probes=True)
    promising = {score.k for score in base.scores if score.gain_ratio >= 1 + settings.minimum_gain}
    return taken_back | (measured - promising)


def frozen(base: Decision, course: Course) -> tuple[Decision, Course]:
    """No change, by the operator's wish: what is held stays held, and a probe ends."""
    sentence = f"Changes are frozen; without that: {base.sentence}"
    decision = replace(base, action=Action.HOLD, reason=Reason.FROZEN, schedule=course.home, sentence=sentence)
    return decision, replace(course, probe=None)


def stood_down(base: Decision, course: Course, seconds_left: float) -> Decision:
    """No change, since somebody else returned the engine to its launch schedule."""
    sentence = (
        f"Somebody else returned the engine to its launch schedule: adaptive-k keeps out for {seconds_left:.0f} more "
        f"seconds. Without that: {base.sentence}"
    )
    return replace(base, action=Action.HOLD, reason=Reason.STOOD_DOWN, schedule=course.home, sentence=sentence)


def found(course: Course, speculation: Speculation, owner: str) -> Course:
    """The course as far as the engine's own word allows: what somebody else holds is not ours to explore."""
    if speculation.owner not in (None, owner):
        return replace(course, home=speculation.schedule, borrowed=True, probe=None, change=None)
    if course.home and not course.borrowed:
        return course
    course = replace(course, borrowed=False)
    return replace(course, home=speculation.schedule if speculation.owner else speculation.launch_schedule)


def was_reset(before: Speculation | None, now: Speculation, owner: str, seconds: float) -> bool:
    """Whether somebody took our schedule away before its time, rather than the engine or its end of life."""
    return (
        before is not None
        and before.owner == owner
        and before.boot_id == now.boot_id
        and now.owner is None
        and (before.expires_in_seconds or 0.0) > seconds
    )


def was_released(before: Speculation | None, now: Speculation, owner: str) -> bool:
    """Whether somebody else's schedule ended: it was never ours to keep up."""
    return before is not None and before.owner not in (None, owner) and now.owner is None


def under_pressure(moment: Moment, settings: PolicySettings) -> bool:
    """Whether requests wait, or the latency target is missed: no time for experiments."""
    slow = (
        settings.pressure_seconds is not None
        and moment.tpot_seconds is not None
        and moment.tpot_seconds > settings.pressure_seconds
    )
    return slow or moment.waiting > QUIET_REQUESTS


def _on_target(moment: Moment, settings: PolicySettings) -> bool:
    """Whether the latency target is met: more throughput is not wanted then, so nothing is worth measuring for it."""
    target = settings.tpot_target_seconds
    return target is not None and moment.tpot_seconds is not None and moment.tpot_seconds <= target


def _reviewed(course: Course) -> Course:
    """The course with the change under review looked at again; a change that proved itself leaves the review."""
    if course.change is None:
        return course
    latest = review(course.change, course.windows)
    return replace(course, latest=latest, change=None if latest.verdict is Verdict.KEPT else course.change)


def _changed(base: Decision, course: Course, home_k: int, moment: Moment) -> Course:
    assert base.batch is not None
    assert base.k is not None
    change = Change(moment.now_seconds, base.batch, home_k, base.k, base.gain or Bounded(1.0, 1.0, 1.0))
    return replace(
        course,
        home=base.schedule,
        before=course.home,
        changed_at_seconds=moment.now_seconds,
        change=change,
        probe=None,
        latest=Review(change, None, Verdict.PENDING),
    )


def _rolled_back(
    base: Decision, course: Course, found: Review, moment: Moment, settings: PolicySettings
) -> tuple[Decision, Course]:
    change, realised = found.change, found.realised
    assert realised is not None
    bars = _with_bar(course, change.k_after, change.batch, moment, settings, probes_only=False)
    decision = replace(
        base,
        action=Action.ROLL_BACK,
        reason=Reason.REALISED_WORSE,
        k=change.k_before,
        schedule=course.before,
        gain=None,
        sentence=(
            f"k={change.k_after} was expected to bring {change.predicted.value - 1:+.1%} over k={change.k_before} and "
            f"brought {percent(realised)}: back to k={change.k_before}; "
            f"k={change.k_after} rests for {bars[-1].seconds / 60:.0f} minutes."
        ),
    )
    return decision, replace(
        course,
        home=course.before,
        changed_at_seconds=moment.now_seconds,
        change=None,
        probe=None,
        bars=bars,
    )


def _probing(
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
    if not (hopeless or undecided or elsewhere or under_pressure(moment, settings)):
        return _measuring(base, course, score, home_k), replace(course, probe=replace(probe, windows=windows))
    gain = Bounded(score.gain_ratio, score.gain_low, score.gain_high)
    decision = replace(
        base,
        reason=Reason.PROBE_ENDED,
        schedule=course.home,
        sentence=(
            f"k={probe.k} ran for {windows} window{'s' * (windows > 1)} and yields {percent(gain)} over k={home_k}: "
            f"not enough to change. Back to k={home_k}."
        ),
    )
    bars = course.bars
    if hopeless or undecided:
        bars = _with_bar(course, probe.k, base.batch, moment, settings, probes_only=True)
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
    return decision, _changed(decision, course, home_k, moment)


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


def _with_bar(
    course: Course, k: int, batch: float, moment: Moment, settings: PolicySettings, *, probes_only: bool
) -> tuple[Bar, ...]:
    """The bars with one more; twice as long when the same k was barred at this load before."""
    known = [bar for bar in course.bars if bar.k == k and 0.5 <= bar.batch / batch <= 2.0]
    others = tuple(bar for bar in course.bars if bar not in known)
    before = max((bar.seconds for bar in known), default=0.0)
    interval = settings.interval_seconds
    seconds = min(max(2 * before, FIRST_BAR_INTERVALS * interval), LONGEST_BAR_INTERVALS * interval)
    strict = any(bar.until_seconds > moment.now_seconds and not bar.probes_only for bar in known)
    until = moment.now_seconds + seconds * (1 + 0.5 * moment.chance)
    return (*others, Bar(k, batch, until, seconds, probes_only and not strict))


def _just_refined(course: Course, moment: Moment, settings: PolicySettings) -> bool:
    refined = course.refined_at_seconds
    return refined is not None and moment.now_seconds - refined < settings.cooldown_seconds


def _other(base: Decision, home_k: int) -> str:
    parts = ", ".join(f"{low}-{high}: {k}" for low, high, k in base.schedule)
    return f"k={home_k} stays at a batch of {base.batch:.3g}; the schedule by batch becomes {parts}."

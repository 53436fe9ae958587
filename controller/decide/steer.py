"""From the answer of one pass to the schedule that is wanted from now on: changes, probes, reviews, rests."""

from dataclasses import replace

from controller.decide import probe
from controller.decide.course import Course
from controller.decide.decision import Action, Decision
from controller.decide.moment import Moment
from controller.decide.policy_settings import PolicySettings
from controller.decide.review import Review, Verdict, remembered_windows, review
from controller.decide.schedule import k_at
from controller.decide.sentence import percent
from controller.reason import Reason


def steer(
    base: Decision,
    course: Course,
    moment: Moment,
    settings: PolicySettings,
    impossible: frozenset[int] = frozenset(),
) -> tuple[Decision, Course]:
    """What to do about the answer of this pass, and what to remember.

    In this order: take back what proved worse; do what is clear; go on with a probe, or end it; begin a probe; give
    other batch sizes what is clear for them; rest.

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
        return base, course.changed(base, home_k, moment.now_seconds)
    if course.probe is not None:
        return probe.proceed(base, course, course.probe, home_k, moment, settings)
    rest = replace(base, schedule=course.home)
    score = probe.due(base, course, home_k, moment, settings, impossible)
    if score is not None:
        return probe.begun(base, course, score, home_k)
    if base.schedule and base.schedule != course.home and not _just_refined(course, moment, settings):
        other = replace(base, action=Action.CHANGE, reason=Reason.OTHER_BATCHES, sentence=_other(base, home_k))
        return other, replace(course, home=base.schedule, refined_at_seconds=moment.now_seconds)
    return rest, course


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


def _reviewed(course: Course) -> Course:
    """The course with the change under review looked at again; a change that proved itself leaves the review."""
    if course.change is None:
        return course
    latest = review(course.change, course.windows)
    return replace(course, latest=latest, change=None if latest.verdict is Verdict.KEPT else course.change)


def _rolled_back(
    base: Decision, course: Course, found: Review, moment: Moment, settings: PolicySettings
) -> tuple[Decision, Course]:
    change, realised = found.change, found.realised
    assert realised is not None
    bars = course.with_bar(change.k_after, change.batch, moment, settings, probes_only=False)
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


def _just_refined(course: Course, moment: Moment, settings: PolicySettings) -> bool:
    refined = course.refined_at_seconds
    return refined is not None and moment.now_seconds - refined < settings.cooldown_seconds


def _other(base: Decision, home_k: int) -> str:
    parts = ", ".join(f"{low}-{high}: {k}" for low, high, k in base.schedule)
    return f"k={home_k} stays at a batch of {base.batch:.3g}; the schedule by batch becomes {parts}."

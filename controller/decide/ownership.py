"""Whose schedule is in force, by the engine's own word: ours, somebody else's, or nobody's any more."""

from dataclasses import replace

from controller.decide.course import Course
from controller.observe.speculation import Speculation


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

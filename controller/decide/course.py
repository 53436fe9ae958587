"""What live control remembers of one engine: the lasting schedule, a probe, a change under review, and rests."""

from dataclasses import dataclass, replace
from typing import Final

from controller.decide.decision import Bounded, Decision, Schedule
from controller.decide.explore import NEW_ACCOUNT, Account
from controller.decide.moment import Moment
from controller.decide.policy_settings import PolicySettings
from controller.decide.review import Change, Realised, Review, Verdict
from controller.decide.schedule import overlaid

PROBE_REACH: Final = 1.5
"""A probe holds for batches within this factor of the load it was meant for."""
FIRST_BAR_INTERVALS: Final = 30.0
"""A k that was taken back rests for so long, 5 minutes by default; twice as long each time that it happens."""
LONGEST_BAR_INTERVALS: Final = 1440.0


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

    def changed(self, base: Decision, home_k: int, now_seconds: float) -> "Course":
        """The course after a change, which is now under review."""
        assert base.batch is not None
        assert base.k is not None
        change = Change(now_seconds, base.batch, home_k, base.k, base.gain or Bounded(1.0, 1.0, 1.0))
        return replace(
            self,
            home=base.schedule,
            before=self.home,
            changed_at_seconds=now_seconds,
            change=change,
            probe=None,
            latest=Review(change, None, Verdict.PENDING),
        )

    def with_bar(
        self, k: int, batch: float, moment: Moment, settings: PolicySettings, *, probes_only: bool
    ) -> tuple[Bar, ...]:
        """The bars with one more; twice as long when the same k was barred at this load before."""
        known = [bar for bar in self.bars if bar.k == k and 0.5 <= bar.batch / batch <= 2.0]
        others = tuple(bar for bar in self.bars if bar not in known)
        before = max((bar.seconds for bar in known), default=0.0)
        interval = settings.interval_seconds
        seconds = min(max(2 * before, FIRST_BAR_INTERVALS * interval), LONGEST_BAR_INTERVALS * interval)
        strict = any(bar.until_seconds > moment.now_seconds and not bar.probes_only for bar in known)
        until = moment.now_seconds + seconds * (1 + 0.5 * moment.chance)
        return (*others, Bar(k, batch, until, seconds, probes_only and not strict))

"""Many engines as few rows: what the engines of a group did is added up, so that one decision serves them all."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

from controller.observe.errors import ObserveError
from controller.observe.prometheus.follower import Follower, Progress
from controller.observe.prometheus.grouping import EACH, Grouping, scraped_at
from controller.observe.prometheus.history import Span
from controller.observe.snapshot import Key, Replicas, Snapshot
from controller.observe.window import Window, advanced
from controller.plain import plain
from controller.reason import Reason

OTHER_K_MAX: Final = (
    "It runs num_speculative_tokens={k_max}, most of its group another: a rollout is under way, or two workloads "
    "are in one group; tell them apart with another label in --group-by."
)
SCRAPED_TWICE: Final = (
    "{instance} is scraped twice, under different labels, and counts once: remove one of the scrape jobs, or choose "
    "one with --match."
)
NAMELESS: Final = "{count} series lack the label model_name and belong to nobody: look at what relabels them."
GROUPS_LEFT_OUT: Final = "{count} groups are left out, those with the fewest engines: raise --groups-max."
Notes = tuple[tuple[Reason, str], ...]


@dataclass(frozen=True, slots=True)
class _Member:
    """One engine of a row, and what it did since the last call."""

    progress: Progress
    present: bool

    @property
    def k_max(self) -> int | None:
        """What it runs now; None without speculation, or when no scrape of it could be used."""
        return self.progress.latest.k_max if self.progress.latest else None

    @property
    def windows(self) -> tuple[Window, ...]:
        """Those of the present k_max; it may have run another before a restart."""
        return tuple(each for each in self.progress.windows if each.k_max == self.k_max)

    def left_out(self, k_max: int | None) -> ObserveError | None:
        """Why it does not count in a row of this k_max; None when it does."""
        if self.progress.latest is not None and self.k_max != k_max:
            return ObserveError(Reason.OTHER_K_MAX, OTHER_K_MAX.format(k_max=self.k_max))
        return self.progress.refused


class Fleet:
    """Every engine that a store showed, and the running totals of their groups."""

    def __init__(self, grouping: Grouping = EACH) -> None:
        """Knows no engine yet."""
        self._grouping = grouping
        self._followers: dict[Key, Follower] = {}
        self._totals: dict[tuple[Key, int | None], tuple[Snapshot, float]] = {}
        self._notes: Notes = ()
        self._elsewhere: frozenset[str] = frozenset()
        self._at: float | None = None

    def absorb(self, span: Span) -> None:
        """Take in what the store holds of a span of time; spans may overlap, and may leave gaps."""
        self._notes, self._elsewhere = _notes(span), span.elsewhere
        self._followers = {key: each for key, each in self._followers.items() if len(each.where.times)}
        for each in span.tracks:
            key = (each.model_name, each.engine, each.labels)
            if key in self._followers:
                self._followers[key].absorb(each)
            else:
                self._followers[key] = Follower(each)

    def at(self, unix_seconds: float) -> tuple[Snapshot, ...]:
        """One snapshot a row, at an instant that is later than that of the last call.

        The counters of a row are running totals: they rise by what its engines did in the windows since the last call,
        so that between two snapshots lies the sum of the engines' windows, and no restart of any of them is in it.

        Raises:
            ObserveError: No engine has one of the labels to group by, or there is more than the one row wanted.
        """
        since, self._at = self._at, unix_seconds
        rows = self._rows(since, unix_seconds)
        self._grouping.refuse_several(sorted(rows))
        kept = sorted(rows, key=lambda key: (-len(rows[key]), key))[: self._grouping.groups_max]
        left = len(rows) - len(kept)
        more = ((Reason.TOO_MANY_GROUPS, GROUPS_LEFT_OUT.format(count=left)),) if left else ()
        self._totals = {each: total for each, total in self._totals.items() if each[0] in rows}
        notes = (*self._notes, *more)
        return tuple(self._row(key, rows[key], unix_seconds, notes) for key in sorted(kept))

    def _rows(self, since: float | None, at: float) -> dict[Key, list[_Member]]:
        """What every engine did since the last call, by row; engines that are gone are forgotten."""
        found: dict[Key, list[_Member]] = defaultdict(list)
        scraped: set[tuple[str, str, str, float]] = set()
        there = {name for each in self._followers.values() for name, _ in each.where.labels}
        self._grouping.check(there | self._elsewhere)
        for key, follower in sorted(self._followers.items()):
            progress, present = follower.advance(since, at), follower.present(at)
            if present or progress.windows:
                twice = _first_time(key, progress, scraped)
                member = _Member(progress if twice is None else Progress((), progress.latest, twice), present)
                found[self._grouping.key(key)].append(member)
            if present or follower.waits(at):
                follower.forget(at)
            else:
                del self._followers[key]
        return found

    def _row(self, key: Key, members: Sequence[_Member], at: float, notes: Notes) -> Snapshot:
        """The row's running total, with what its engines that run the k_max of most of them did."""
        k_max = _most(members)
        alike = [each for each in members if each.k_max == k_max]
        counted = [each for each in alike if each.windows]
        windows = [window for each in counted for window in each.windows]
        latest = [each.progress.latest for each in alike if each.present and each.progress.latest is not None]
        newest = max((each.at_seconds or 0.0 for each in latest), default=at)
        refused = [error for each in members if (error := each.left_out(k_max)) is not None]
        reasons = Counter(each.reason for each in refused).most_common()
        replicas = Replicas(
            known=sum(each.present for each in members),
            counted=len(counted),
            left_out=tuple(reasons),
            message=next((each.message for each in refused if each.reason is reasons[0][0]), ""),
            notes=notes,
        )
        total, before = self._totals.get((key, k_max)) or (_zero(key, k_max, newest), newest)
        total = advanced(total, windows, latest, _lasted(alike, newest - before), replicas)
        self._totals[key, k_max] = total, max(before, newest) if counted else before
        return total


def _lasted(engines: Sequence[_Member], between_newest: float) -> float:
    """Seconds of a row's windows: from the newest scrape of any of its engines then to that now, for they come and go.

    Those of a single engine are its own, which leave out a restart.
    """
    spans = [each.progress.seconds for each in engines]
    return between_newest if len(spans) > 1 and between_newest > 0 else max(spans, default=0.0)


def _notes(span: Span) -> Notes:
    found = [(Reason.ANSWER_PARTIAL, span.partial)] if span.partial else []
    if span.nameless:
        found.append((Reason.LABELS_MISSING, NAMELESS.format(count=span.nameless)))
    return tuple(found)


def _first_time(key: Key, progress: Progress, scraped: set[tuple[str, str, str, float]]) -> ObserveError | None:
    """None, unless the same process at the same address was met before: then why it does not count again."""
    place = scraped_at(key)
    created = progress.latest.created_seconds if progress.latest else None
    if place is None or created is None:
        return None
    mark = (*place, created)
    if mark in scraped:
        return ObserveError(Reason.SCRAPED_TWICE, SCRAPED_TWICE.format(instance=plain(place[2])))
    scraped.add(mark)
    return None


def _most(members: Sequence[_Member]) -> int | None:
    """The k_max of most engines that are there; of equally many the largest."""
    there = [each for each in members if each.present] or members
    counts = Counter(each.k_max for each in there if each.progress.latest is not None)
    return max(counts, key=lambda k: (counts[k], k or 0)) if counts else None


_ZEROS: Final = {each.name: 0.0 for each in fields(Snapshot) if each.type in (float, "float")}


def _zero(key: Key, k_max: int | None, at: float) -> Snapshot:
    """A row that has counted nothing yet."""
    return Snapshot(
        model_name=key[0],
        engine=key[1],
        labels=key[2],
        at_seconds=at,
        created_seconds=None,
        accepted_by_position=(0.0,) * (k_max or 0),
        replicas=None,
        **_ZEROS,
    )

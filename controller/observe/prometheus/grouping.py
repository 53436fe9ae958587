"""What makes a row: one engine, or all engines that share some labels."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from controller.observe.errors import ObserveError
from controller.observe.snapshot import Key
from controller.plain import listed, plain
from controller.reason import Reason

GROUPS_MAX: Final = 100_000
SHOWN: Final = 20
"""Labels that are listed where one is missing."""
_OWN: Final = frozenset({"model_name", "engine"})
"""Labels that have a place of their own in a key."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """What makes a row.

    Attributes:
        labels: Names of the labels that the engines of a row share, and `model_name` always; None for a row an engine.
        groups_max: The rows with the most engines are kept, if there are more.
        only: Whether there may be one row only, because what is decided for it is done to one workload.
    """

    labels: tuple[str, ...] | None = None
    groups_max: int = GROUPS_MAX
    only: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The labels of a row's key, in its order; empty for a row an engine, whose key has all of them."""
        return tuple(sorted({*(self.labels or ())} - _OWN))

    def key(self, engine: Key) -> Key:
        """The row that an engine belongs to.

        >>> Grouping(("namespace",)).key(("llama", "0", (("namespace", "llm"), ("pod", "a"))))
        ('llama', '', (('namespace', 'llm'),))
        """
        if self.labels is None:
            return engine
        has = dict(engine[2])
        shared = tuple((name, has.get(name, "")) for name in self.names)
        return engine[0], engine[1] if "engine" in self.labels else "", shared

    def check(self, there: AbstractSet[str]) -> None:
        """Refuses a label that no server has: it is misspelt, or relabelling drops it; raises `ObserveError`.

        Args:
            there: Names of the labels that servers have; empty where there is no server.
        """
        missing = [name for name in self.names if name not in there]
        if missing and there:
            raise ObserveError(
                Reason.LABELS_MISSING,
                f"No server has the label {plain(missing[0])} to group by. They have: "
                f"{listed([*map(plain, sorted(there))], SHOWN)}. Change --group-by.",
            )

    def parts(self, engines: Sequence[Key], count: int) -> tuple[frozenset[Key], ...]:
        """The engines in so many parts, or fewer, of which none has to know what another holds.

        Those of a row are together, and so are all rows that may show the same process. Where rows are left out since
        there are too many, there is one part: which they are depends on all.
        """
        rows: dict[Key, list[Key]] = defaultdict(list)
        for each in engines:
            rows[self.key(each)].append(each)
        if len(rows) > self.groups_max:
            return (frozenset(engines),)
        places = Counter(map(scraped_at, engines))
        found: list[list[Key]] = [[] for _ in range(count)]
        turns = cycle(reversed(found))  # the first part has the rows that are bound together
        for row in rows.values():
            bound = any(at is not None and places[at] > 1 for at in map(scraped_at, row))
            (found[0] if bound else next(turns)).extend(row)
        return tuple(frozenset(each) for each in found if each)

    def refuse_several(self, rows: Sequence[Key]) -> None:
        """Refuses rows of which nobody could say which is meant; raises `ObserveError`."""
        if self.only and len(rows) > 1:
            named = ", ".join(
                plain("/".join([*(value for _, value in labels), model])) for model, _, labels in rows[:5]
            )
            raise ObserveError(
                Reason.TOO_MANY_GROUPS,
                f"{len(rows)} groups match ({named}), but only one workload is rolled: narrow --match to its pods.",
            )


def scraped_at(engine: Key) -> tuple[str, str, str] | None:
    """Model, engine and address, which two jobs that scrape the same server have in common; None without an address.

    >>> scraped_at(("llama", "0", (("instance", "a:8000"), ("job", "vllm"))))
    ('llama', '0', 'a:8000')
    """
    instance = dict(engine[2]).get("instance")
    return (engine[0], engine[1], instance) if instance else None


EACH: Final = Grouping()
"""A row an engine."""

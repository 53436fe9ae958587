"""From settings to a store of metrics: how it is asked, and what makes a row.

What reads the answers is imported late: numpy takes a tenth of a second, in which the store can work.
"""

from typing import TYPE_CHECKING

from controller.observe.http import Fetcher
from controller.observe.prometheus.client import PROMETHEUS, Access, Client
from controller.observe.prometheus.fetching import Fetching, chunks
from controller.observe.prometheus.grouping import GROUPS_MAX, Grouping
from controller.options.fleet import FleetOptions

if TYPE_CHECKING:
    from controller.observe.prometheus.history import History
    from controller.observe.prometheus.last_window import LastWindow


def history(options: FleetOptions) -> "History":
    """What the store holds of the servers that match."""
    from controller.observe.prometheus.history import History  # noqa: PLC0415

    return History(_client(options), options.match)


def last_window(options: FleetOptions, seconds: float) -> "LastWindow":
    """The newest so many seconds by the store's own clock: it works on the first queries. Raises `ObserveError`."""
    client = _client(options)
    now = client.now()
    instants = (now - seconds, now)
    begun = Fetching(client, options.match, *next(chunks(instants)))
    from controller.observe.prometheus.history import History  # noqa: PLC0415
    from controller.observe.prometheus.last_window import LastWindow  # noqa: PLC0415

    return LastWindow(History(client, options.match, begun), grouping(options), instants)


def _client(options: FleetOptions) -> Client:
    assert options.prometheus_url is not None
    fetcher = Fetcher(
        timeout_seconds=options.query_timeout_seconds,
        limit_bytes=options.answer_limit_bytes,
        token_file=options.token_file,
        peer=PROMETHEUS,
        ca_file=options.ca_file,
    )
    access = Access(options.username_file, options.password_file, options.org_id)
    return Client(options.prometheus_url, fetcher, access, options.query_timeout_seconds)


def grouping(options: FleetOptions, groups_max: int = GROUPS_MAX, *, only: bool = False) -> Grouping:
    """What makes a row."""
    labels = None if options.group_by is None else tuple(options.group_by.split(","))
    return Grouping(labels, groups_max, only)

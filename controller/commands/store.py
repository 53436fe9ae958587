"""From settings to a store of metrics: how it is asked, and what makes a row."""

from controller.observe.http import Fetcher
from controller.observe.prometheus.client import PROMETHEUS, Access, Client
from controller.observe.prometheus.grouping import GROUPS_MAX, Grouping
from controller.observe.prometheus.history import History
from controller.observe.prometheus.last_window import LastWindow
from controller.options.fleet import FleetOptions


def history(options: FleetOptions) -> History:
    """What the store holds of the servers that match."""
    assert options.prometheus_url is not None
    fetcher = Fetcher(
        timeout_seconds=options.query_timeout_seconds,
        limit_bytes=options.answer_limit_bytes,
        token_file=options.token_file,
        peer=PROMETHEUS,
        ca_file=options.ca_file,
    )
    access = Access(options.username_file, options.password_file, options.org_id)
    client = Client(options.prometheus_url, fetcher, access, options.query_timeout_seconds)
    return History(client, options.match)


def last_window(options: FleetOptions, seconds: float) -> LastWindow:
    """The newest so many seconds by the store's own clock, not asked for yet. Raises `ObserveError`."""
    store = history(options)
    now = store.now()
    return LastWindow(store, grouping(options), (now - seconds, now))


def grouping(options: FleetOptions, groups_max: int = GROUPS_MAX, *, only: bool = False) -> Grouping:
    """What makes a row."""
    labels = None if options.group_by is None else tuple(options.group_by.split(","))
    return Grouping(labels, groups_max, only)

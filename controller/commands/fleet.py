"""From settings to a fleet: the store, and the rows that are made of what it holds."""

from controller.fleet_options import FleetOptions
from controller.observe.http import Fetcher
from controller.observe.prometheus.client import PROMETHEUS, Access, Client
from controller.observe.prometheus.grouping import Grouping
from controller.observe.prometheus.history import History
from controller.settings import BacktestOptions, RecommendOptions, RunOptions


def history(options: RecommendOptions | RunOptions | BacktestOptions) -> History:
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


def grouping(options: FleetOptions, groups_max: int | None = None) -> Grouping:
    """What makes a row."""
    labels = None if options.group_by is None else tuple(options.group_by.split(","))
    return Grouping(labels) if groups_max is None else Grouping(labels, groups_max)

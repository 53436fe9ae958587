"""Time as Kubernetes' MicroTime: RFC 3339 with microseconds."""

from datetime import UTC, datetime


def micro_time(unix_seconds: float) -> str:
    """The instant as Lease and Event want it.

    >>> micro_time(0.5)
    '1970-01-01T00:00:00.500000Z'
    """
    return datetime.fromtimestamp(unix_seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

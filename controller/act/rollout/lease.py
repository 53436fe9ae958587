"""One replica at a time: a Lease (coordination.k8s.io/v1), held only while there is something to do."""

from typing import Any

from controller.act.rollout import shape
from controller.act.rollout.api import KubernetesApi
from controller.act.rollout.result import RolloutOutcome, RolloutStop
from controller.act.rollout.timestamp import micro_time
from controller.clock import Clock
from controller.plain import plain


class Lease:
    """Taken, renewed and given back as client-go's leader election does it.

    Whether another holder's Lease has run out is judged by how long it was seen unchanged on our own monotonic clock,
    never by comparing its renewTime with our time of day: clocks of two nodes may differ.
    """

    def __init__(
        self, api: KubernetesApi, clock: Clock, *, namespace: str, name: str, identity: str, duration_seconds: int
    ) -> None:
        """Asks for nothing yet."""
        self._api = api
        self._clock = clock
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name = name
        self._namespace = namespace
        self._identity = identity
        self._duration_seconds = duration_seconds
        self._seen: tuple[object, ...] | None = None
        self._seen_at_seconds = 0.0
        self._renewed_at_seconds: float | None = None

    def hold(self) -> None:
        """Be the holder, or stop.

        Raises:
            RolloutStop: Another replica holds it, or was faster; or the API server fails.
        """
        found = self._find()
        now = self._clock.monotonic_seconds()
        if found is None:
            self._create()
        else:
            self._see(found, now)
            spec = _spec(found)
            holder = spec.get("holderIdentity") or ""
            renewed = self._renewed_at_seconds
            if holder == self._identity and renewed is not None and now - renewed < self._duration_seconds / 3:
                return
            runs_out_seconds = self._seen_at_seconds + (spec.get("leaseDurationSeconds") or 0) - now
            if holder not in ("", self._identity) and runs_out_seconds > 0:
                raise self._not_leader(holder, runs_out_seconds)
            self._write(found, self._taken(spec, holder))

    def release(self) -> None:
        """Give it back, so that the next one need not wait; nothing happens unless we hold it.

        Raises:
            RolloutStop: The API server fails; the Lease then runs out by itself.
        """
        found = self._find()
        if found is None or _spec(found).get("holderIdentity") != self._identity:
            return
        self._write(found, _spec(found) | {"holderIdentity": "", "renewTime": self._time_of_day()})

    def _find(self) -> dict[str, Any] | None:
        found = self._api.find(self._path)
        if found is not None:
            shape.refuse_misshapen(found, shape.Lease, self._path)
        return found

    @property
    def _path(self) -> str:
        return f"{self._collection}/{self._name}"

    def _see(self, found: dict[str, Any], now_seconds: float) -> None:
        spec = _spec(found)
        seen = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        if seen != self._seen:
            self._seen, self._seen_at_seconds = seen, now_seconds

    def _create(self) -> None:
        now = self._time_of_day()
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": self._duration_seconds,
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }
        try:
            created = self._api.create(self._collection, body)
        except RolloutStop as stop:
            raise self._lost(stop) from stop
        self._written(created)

    def _taken(self, spec: dict[str, Any], holder: str) -> dict[str, Any]:
        now = self._time_of_day()
        mine = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._duration_seconds,
            "renewTime": now,
        }
        if holder != self._identity:
            mine |= {"acquireTime": now, "leaseTransitions": (spec.get("leaseTransitions") or 0) + 1}
        return spec | mine

    def _write(self, found: dict[str, Any], spec: dict[str, Any]) -> None:
        """Conditional on the resourceVersion that was read, which is in `found`."""
        try:
            written = self._api.replace(self._path, found | {"spec": spec})
        except RolloutStop as stop:
            raise self._lost(stop) from stop
        self._written(written)

    def _written(self, lease: dict[str, Any]) -> None:
        self._renewed_at_seconds = self._clock.monotonic_seconds()
        self._see(lease, self._renewed_at_seconds)

    def _lost(self, stop: RolloutStop) -> RolloutStop:
        """A conflict means that another replica was faster; everything else stays what it is."""
        if stop.outcome is not RolloutOutcome.CHANGED_MEANWHILE:
            return stop
        return RolloutStop(
            RolloutOutcome.NOT_LEADER, f"Another replica took the Lease {self._name} just now: that one acts."
        )

    def _not_leader(self, holder: str, seconds: float) -> RolloutStop:
        return RolloutStop(
            RolloutOutcome.NOT_LEADER,
            f"{plain(holder)} holds the Lease {self._name}, for {seconds:.0f} s at least: that one acts.",
        )

    def _time_of_day(self) -> str:
        return micro_time(self._clock.unix_seconds())


def _spec(lease: dict[str, Any]) -> dict[str, Any]:
    """Every field of a Lease may be left out."""
    return lease.get("spec") or {}

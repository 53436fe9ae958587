"""Which workload is rolled, and how carefully."""

from dataclasses import dataclass
from typing import Final

from controller.act.rollout.workload import Kind

HOUR_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """The one workload, and the guards.

    Attributes:
        namespace: Of the workload, the Lease and the Events.
        kind: Of the workload.
        name: Of the workload.
        identity: Ours among the replicas, such as the pod's name; holds the Lease and signs the Events.
        container: vLLM's container; None where only one has a speculative config.
        variable: The environment variable that holds the speculative config; None for the argument.
        method: vLLM's name of the drafting method, for a config that does not say.
        use_schedule: Whether vLLM knows `num_speculative_tokens_per_batch_size` (0.24 and later).
        startup_seconds: From a pod's start until it serves; the cost of a restart.
        horizon_seconds: How long a change is expected to be worth its gain.
        minimum_interval_seconds: Least time between two changes; 4 times that after a setback, 16 times after two, ...
        changes_a_day: Most changes on one day (UTC), rollbacks included; a rollback itself is never held back.
        rollout_timeout_seconds: A rollout that takes longer has failed.
        settle_seconds: From the end of a rollout until its gain is judged: caches fill, traffic returns.
        judge_within_seconds: A gain that cannot be measured within that time is no longer waited for.
        watch_seconds: How long one pass may wait for news of a rollout; 0 never waits.
        lease_seconds: A replica that renews for so long no more has lost the Lease.
        lease_name: Of the Lease; made of the workload's kind and name when None.
        dry_run: Send nothing but a dry run of the patch, which the API server judges and does not store.
    """

    namespace: str
    kind: Kind
    name: str
    identity: str
    container: str | None = None
    variable: str | None = None
    method: str | None = None
    use_schedule: bool = True
    startup_seconds: float = 300.0
    horizon_seconds: float = 6 * HOUR_SECONDS
    minimum_interval_seconds: float = 6 * HOUR_SECONDS
    changes_a_day: int = 2
    rollout_timeout_seconds: float = HOUR_SECONDS
    settle_seconds: float = 600.0
    judge_within_seconds: float = HOUR_SECONDS
    watch_seconds: float = 5.0
    lease_seconds: int = 60
    lease_name: str | None = None
    dry_run: bool = False

    @property
    def lease(self) -> str:
        """The Lease's name."""
        return self.lease_name or f"adaptive-k-{self.kind.value.lower()}-{self.name}"[:253].rstrip("-.")

    @property
    def workload(self) -> str:
        """The workload as people write it: namespace/kind/name."""
        return f"{self.namespace}/{self.kind.value.lower()}/{self.name}"

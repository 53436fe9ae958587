"""The options of `controller run --mode rollout`: which workload is rolled, and how carefully."""

from typing import Final, Literal

from pydantic import Field

from controller.options.base import Folder, Options, Positive, Url

_SUBDOMAIN: Final = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
_LABEL: Final = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_VARIABLE: Final = r"^[-._A-Za-z][-._A-Za-z0-9]{0,252}$"


class RolloutOptions(Options):
    """The workload that runs vLLM, and the guards of changing it; all for `--mode rollout` only."""

    rollout_kind: Literal["Deployment", "StatefulSet", "LeaderWorkerSet"] | None = Field(
        None, description="Kind of the workload that runs vLLM. Needed to roll it."
    )
    rollout_name: str | None = Field(None, pattern=_SUBDOMAIN, description="Its name. Needed to roll it.")
    rollout_namespace: str | None = Field(
        None, pattern=_LABEL, description="Its namespace; that of the pod's own service account without one."
    )
    rollout_container: str | None = Field(
        None, pattern=_LABEL, description="vLLM's container, where several have a speculative config."
    )
    rollout_variable: str | None = Field(
        None,
        pattern=_VARIABLE,
        description="Environment variable that holds the speculative config; the argument is edited without one.",
    )
    rollout_schedule: bool = Field(
        True, description="Write a schedule by batch size (vLLM 0.24 or later), not one k for all of them."
    )
    rollout_dry_run: bool = Field(
        False, description="Change nothing: the API server checks each patch, and the log shows it."
    )
    rollout_minimum_interval_hours: float = Field(
        6.0, ge=1, le=8760, allow_inf_nan=False, description="Least time between two changes; longer after setbacks."
    )
    rollout_changes_per_day: int = Field(2, ge=1, le=24, description="Most changes on one day (UTC).")
    rollout_horizon_hours: Positive = Field(
        6.0, description="How long a change is taken to stay worth its gain, which must exceed the cost of restarting."
    )
    rollout_startup_seconds: Positive = Field(
        300.0, description="From the start of a vLLM pod until it serves: what a restart costs."
    )
    rollout_timeout_seconds: Positive = Field(
        3600.0, description="A rollout that takes longer has failed, and is rolled back."
    )
    rollout_settle_seconds: float = Field(
        600.0, ge=0, allow_inf_nan=False, description="From the end of a rollout until its gain is judged."
    )
    rollout_api_url: Url | None = Field(
        None,
        description="Address of the Kubernetes API server, such as that of `kubectl proxy`; the pod's own without one.",
    )
    rollout_service_account: Folder | None = Field(
        None, description="Folder with token, ca.crt and namespace; where Kubernetes mounts them without one."
    )

"""Objects of the Kubernetes API, as far as they are read: what stands in its place may answer anything."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from controller.act.rollout.result import RolloutOutcome, RolloutStop
from controller.act.rollout.workload import Kind
from controller.plain import plain

Count = Annotated[int, Field(ge=0, le=2**53)]
Name = Annotated[str, Field(min_length=1, max_length=253)]


class _Part(BaseModel):
    """Checks the types of what is read, and looks at nothing else."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True, frozen=True)


class _Variable(_Part):
    name: str
    value: str = ""


class _Container(_Part):
    name: Name
    command: list[str] | None = None
    args: list[str] | None = None
    env: list[_Variable] | None = None


class _PodSpec(_Part):
    containers: list[_Container]


class _Template(_Part):
    spec: _PodSpec


class _Group(_Part):
    leader_template: _Template | None = None
    worker_template: _Template


class _RollingUpdate(_Part):
    partition: Count | None = None
    max_surge: Count | str = 0
    max_unavailable: Count | str = 0


class _Strategy(_Part):
    type: str | None = None
    rolling_update: _RollingUpdate | None = None
    rolling_update_configuration: _RollingUpdate | None = None


class _WorkloadSpec(_Part):
    replicas: Count | None = None
    paused: bool | None = None
    progress_deadline_seconds: Count = 0
    strategy: _Strategy | None = None
    update_strategy: _Strategy | None = None
    rollout_strategy: _Strategy | None = None
    template: _Template | None = None
    leader_worker_template: _Group | None = None


class _Condition(_Part):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class _Status(_Part):
    observed_generation: Count = 0
    replicas: Count = 0
    updated_replicas: Count = 0
    available_replicas: Count = 0
    ready_replicas: Count = 0
    conditions: list[_Condition] | None = None


class _Manager(_Part):
    manager: str | None = None


class _Metadata(_Part):
    name: Name
    namespace: Name
    uid: Name
    generation: Count
    resource_version: Name
    annotations: dict[str, str] | None = None
    managed_fields: list[_Manager] | None = None


class Workload(_Part):
    """A Deployment, a StatefulSet or a LeaderWorkerSet."""

    api_version: Name
    kind: Name
    metadata: _Metadata
    spec: _WorkloadSpec
    status: _Status | None = None

    @model_validator(mode="after")
    def _template_of_the_kind(self) -> "Workload":
        grouped = self.kind == Kind.LEADER_WORKER_SET.value
        if (self.spec.leader_worker_template if grouped else self.spec.template) is None:
            raise ValueError("the pod template of its kind is missing")
        return self


class _LeaseSpec(_Part):
    holder_identity: str | None = None
    lease_duration_seconds: Count | None = None
    lease_transitions: Count | None = None


class Lease(_Part):
    """A Lease."""

    spec: _LeaseSpec | None = None


def refuse_misshapen(found: dict[str, Any], shape: type[Workload] | type[Lease], path: str) -> None:
    """Stop unless all that is read of an answer has the type that Kubernetes gives it.

    Raises:
        RolloutStop: Something has not; the message names the first.
    """
    try:
        shape.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise RolloutStop(
            RolloutOutcome.API_ERROR,
            f"The answer of the API server to {path} is not as Kubernetes answers "
            f"({plain('.'.join(map(str, first['loc'])), 120)}: {plain(first['msg'], 120)}): check its address.",
        ) from error

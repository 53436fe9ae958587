"""The one workload at the API server: read, watched, patched, and reported on."""

from typing import Any

from controller.act.rollout.api import KubernetesApi, WatchExpired
from controller.act.rollout.event import event
from controller.act.rollout.place import Place
from controller.act.rollout.record import Record, annotation_operations
from controller.act.rollout.result import Patch, RolloutOutcome, RolloutStop
from controller.act.rollout.settings import RolloutSettings
from controller.act.rollout.shape import Workload, refuse_misshapen
from controller.act.rollout.workload import State, progress
from controller.clock import Clock


class Target:
    """Requests about one workload. Every patch tests what it rests on, so that it fits or changes nothing."""

    def __init__(self, api: KubernetesApi, clock: Clock, settings: RolloutSettings) -> None:
        """Asks for nothing yet."""
        self._api = api
        self._clock = clock
        self._settings = settings
        kind = settings.kind
        self._collection = f"/apis/{kind.group}/v1/namespaces/{settings.namespace}/{kind.plural}"
        self._path = f"{self._collection}/{settings.name}"

    def read(self) -> dict[str, Any]:
        """The workload now.

        Raises:
            RolloutStop: It cannot be had, or is not what it should be.
        """
        found = self._api.get(self._path)
        metadata = found.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        if (found.get("kind"), name) != (self._settings.kind.value, self._settings.name):
            raise RolloutStop(
                RolloutOutcome.API_ERROR,
                f"The answer to GET {self._path} is no {self._settings.kind.value}: check the API server's address.",
            )
        refuse_misshapen(found, Workload, self._path)
        return found

    def news(self, workload: dict[str, Any]) -> dict[str, Any]:
        """The workload once its rollout has ended, or as it is when this pass has no more time to wait."""
        if self._settings.watch_seconds <= 0 or progress(workload).state is not State.GOING:
            return workload
        version = workload["metadata"]["resourceVersion"]
        try:
            for found in self._api.watch(self._collection, self._settings.name, version, self._settings.watch_seconds):
                refuse_misshapen(found, Workload, self._path)
                workload = found
                if progress(workload).state is not State.GOING:
                    break
        except (WatchExpired, RolloutStop):
            return self.read()  # watching only saves waiting; whatever is wrong, a plain read tells
        return workload

    def edit(self, workload: dict[str, Any], place: Place, text: str, record: Record) -> Patch:
        """The patch that puts another config in place and keeps the record of it, in one."""
        return (
            *_unchanged(workload),
            {"op": "test", "path": f"{place.container_pointer}/name", "value": place.container},
            {"op": "test", "path": place.pointer, "value": place.whole},
            {"op": "replace", "path": place.pointer, "value": place.with_text(text)},
            *annotation_operations(workload, record),
        )

    def note(self, workload: dict[str, Any], record: Record) -> None:
        """Write the record alone: no pod restarts for that."""
        self.send((*_unchanged(workload), *annotation_operations(workload, record)))

    def send(self, patch: Patch, *, dry_run: bool = False) -> None:
        """Apply a patch whole, or not at all."""
        self._api.patch(self._path, patch, dry_run=dry_run)

    def report(self, workload: dict[str, Any], reason: str, note: str, *, warning: bool) -> str | None:
        """Write an Event; what went wrong, in words, if it could not be. No outcome depends on it."""
        body = event(
            workload,
            reason=reason,
            note=note,
            warning=warning,
            instance=self._settings.identity,
            unix_seconds=self._clock.unix_seconds(),
        )
        try:
            self._api.create(f"/apis/events.k8s.io/v1/namespaces/{self._settings.namespace}/events", body)
        except RolloutStop as stop:
            return f"No Event could be written: {stop.sentence}"
        return None


def _unchanged(workload: dict[str, Any]) -> Patch:
    return ({"op": "test", "path": "/metadata/resourceVersion", "value": workload["metadata"]["resourceVersion"]},)

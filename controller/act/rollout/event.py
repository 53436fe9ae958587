"""Events on the workload (events.k8s.io/v1), as the API server's strict validation wants them."""

from typing import Any, Final

from controller.act.rollout.timestamp import micro_time

CONTROLLER: Final = "adaptive-k.io/rollout"
NOTE_LIMIT_BYTES: Final = 1024
INSTANCE_LIMIT: Final = 128


def event(
    workload: dict[str, Any], *, reason: str, note: str, warning: bool, instance: str, unix_seconds: float
) -> dict[str, Any]:
    """One Event, ready to be created.

    Args:
        workload: Its object; `kind` and `apiVersion` included.
        reason: In CamelCase, at most 128 characters.
        note: For people; cut to 1024 bytes.
        warning: Whether somebody should look.
        instance: Who reports, such as the pod's name.
        unix_seconds: When.
    """
    metadata = workload["metadata"]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "generateName": f"{metadata['name'][:200].rstrip('-.')}-adaptive-k-",
            "namespace": metadata["namespace"],
        },
        "eventTime": micro_time(unix_seconds),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:INSTANCE_LIMIT],
        "action": "Rollout",
        "reason": reason,
        "note": note.encode()[:NOTE_LIMIT_BYTES].decode(errors="ignore"),
        "type": "Warning" if warning else "Normal",
        "regarding": {
            "apiVersion": workload["apiVersion"],
            "kind": workload["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
    }

"""What an API server checks before it stores anything: RFC 6902, schemas, and the rules that no schema tells."""

import copy
import json
import re
from typing import Any

import kubernetes_validate

MINORS = ("1.31", "1.34", "1.37")
"""Kubernetes minors whose published schemas every object must fit, strictly."""
CUSTOM = ("LeaderWorkerSet",)
"""Kinds of custom resources: their schemas are not Kubernetes' own."""
MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
QUALIFIED_NAME = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
PATCH_OPERATIONS = {"test": {"op", "path", "value"}, "add": {"op", "path", "value"}, "replace": {"op", "path", "value"}}


class RefusedError(Exception):
    """A status, its reason, what is said, and whether it lists causes."""

    def __init__(self, code: int, reason: str, message: str, *, causes: bool = False) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.causes = code, reason, message, causes


def written(value: Any) -> bytes:
    """JSON as Go's encoding/json writes it: the characters of HTML escaped, those outside of ASCII not."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def patched(thing: dict[str, Any], operations: Any, content: bytes) -> dict[str, Any]:
    """The object with an RFC 6902 patch applied whole; a test that fails is a 422 without causes, as really.

    A test of a string compares what is written, not what is meant: the literal in the request's content must be the
    one that the API server writes.
    """
    if not isinstance(operations, list):
        raise RefusedError(400, "BadRequest", "a JSON patch is a list")
    result = copy.deepcopy(thing)
    for operation in operations:
        if operation.keys() != PATCH_OPERATIONS.get(operation.get("op"), set()):
            raise RefusedError(400, "BadRequest", f"bad operation {operation}")
        parent, key = _parent(result, operation["path"])
        exists = key in parent if isinstance(parent, dict) else isinstance(key, int) and key < len(parent)
        if operation["op"] == "add" and isinstance(parent, list):
            raise AssertionError("nothing of ours adds to a list")
        if operation["op"] != "add" and not exists:
            raise _unfit(f"no such path {operation['path']}")
        if operation["op"] == "test":
            if parent[key] != operation["value"] or written(parent[key]) not in content:
                raise _unfit(f"testing value {operation['path']} failed")
        else:
            parent[key] = copy.deepcopy(operation["value"])
    return result


def refuse_invalid(thing: dict[str, Any], path: str, minors: tuple[str, ...]) -> None:
    """Schema, and what the API server's validation adds for the kinds that we write."""
    for minor in minors if thing["kind"] not in CUSTOM else ():
        try:
            kubernetes_validate.validate(thing, minor, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise _invalid(f"{minor}: {error.message} at {list(error.path)}") from error
    namespace = path.split("/namespaces/")[1].split("/", maxsplit=1)[0]
    if thing["metadata"].get("namespace") != namespace:
        raise RefusedError(400, "BadRequest", "the namespace of the object does not match the namespace on the request")
    {"Event": _event, "Lease": _lease}.get(thing["kind"], _workload)(thing)


def _event(event: dict[str, Any]) -> None:
    """As events.k8s.io/v1 is validated on creation; the deprecated fields must be unset."""
    namespace = event["metadata"]["namespace"]
    _require(MICRO_TIME.fullmatch(event.get("eventTime", "")), "eventTime")
    _require(QUALIFIED_NAME.fullmatch(event.get("reportingController", "")), "reportingController")
    for name in ("reportingInstance", "action", "reason"):
        _require(0 < len(event.get(name, "")) <= 128, name)
    _require(len(event.get("note", "").encode()) <= 1024, "note")
    _require(event.get("type") in ("Normal", "Warning"), "type")
    _require(event.get("regarding", {}).get("namespace") == namespace, "regarding.namespace")
    _require(not event.keys() & {"count", "source", "series", "deprecatedCount", "deprecatedSource"}, "deprecated")


def _lease(lease: dict[str, Any]) -> None:
    spec = lease["spec"]
    for name in ("acquireTime", "renewTime"):
        _require(MICRO_TIME.fullmatch(spec[name]), name)
    _require(isinstance(spec["leaseDurationSeconds"], int) and spec["leaseDurationSeconds"] > 0, "leaseDurationSeconds")
    _require(spec["leaseTransitions"] >= 0, "leaseTransitions")
    _require(isinstance(spec["holderIdentity"], str), "holderIdentity")


def _workload(workload: dict[str, Any]) -> None:
    annotations = workload["metadata"].get("annotations", {})
    _require(all(isinstance(value, str) for value in annotations.values()), "annotations")
    _require(sum(len(name) + len(value) for name, value in annotations.items()) <= 256 * 1024, "annotations")
    _require(all(QUALIFIED_NAME.fullmatch(name) for name in annotations), "annotations")


def _require(holds: object, name: str) -> None:
    if not holds:
        raise _invalid(f"{name}: invalid value")


def _invalid(message: str) -> RefusedError:
    return RefusedError(422, "Invalid", message, causes=True)


def _unfit(message: str) -> RefusedError:
    del message  # the real one does not tell either
    return RefusedError(422, "Invalid", "the server rejected our request due to an error in our request")


def _parent(thing: Any, pointer: str) -> tuple[Any, Any]:
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    for part in parents:
        try:
            thing = thing[int(part)] if isinstance(thing, list) else thing[part]
        except (KeyError, IndexError, ValueError) as error:
            raise _unfit(f"missing path {pointer}") from error
    return thing, int(last) if isinstance(thing, list) else last

"""What is asked of every manifest: schemas of Kubernetes, and the restricted Pod Security standard."""

from collections.abc import Iterator
from typing import Any, Final

import kubernetes_validate

MINORS: Final = ("1.29", "1.33", "1.37")
"""The oldest with native sidecars on, one between, and the newest whose schemas there are."""
CUSTOM: Final = ("monitoring.coreos.com/v1",)
RESTRICTED_VOLUMES: Final = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
Object = dict[str, Any]


def validate(manifests: list[Object], minor: str) -> None:
    """Every object of a core kind fits the schema of that minor, unknown fields refused."""
    for each in manifests:
        if each["apiVersion"] not in CUSTOM:
            kubernetes_validate.validate(each, minor, strict=True)


def pod_specs(manifests: list[Object]) -> Iterator[Object]:
    """The spec of every pod template."""
    for each in manifests:
        if each["kind"] in ("Deployment", "StatefulSet"):
            yield each["spec"]["template"]["spec"]


def ours(spec: Object) -> list[Object]:
    """The containers that are adaptive-k's."""
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    return [each for each in containers if each["name"].startswith("adaptive-k")]


def of_kind(manifests: list[Object], kind: str) -> list[Object]:
    """The objects of one kind."""
    return [each for each in manifests if each["kind"] == kind]


def only(manifests: list[Object], kind: str) -> Object:
    """The one object of a kind."""
    (found,) = of_kind(manifests, kind)
    return found


def settings_file(manifests: list[Object]) -> str:
    """What `controller run` reads in the cluster."""
    (text,) = (each["data"]["config.yaml"] for each in of_kind(manifests, "ConfigMap") if "config.yaml" in each["data"])
    return str(text)


def not_restricted(container: Object, volumes: list[Object]) -> list[str]:
    """What the restricted Pod Security standard, and ours on top of it, finds wrong with a container."""
    context = container.get("securityContext", {})
    asked = {
        "runs as root": context.get("runAsNonRoot") is not True or context.get("runAsUser", 0) == 0,
        "may gain privileges": context.get("allowPrivilegeEscalation") is not False,
        "is privileged": bool(context.get("privileged")),
        "keeps capabilities": context.get("capabilities") != {"drop": ["ALL"]},
        "has no seccomp profile": context.get("seccompProfile") != {"type": "RuntimeDefault"},
        "can write its root": context.get("readOnlyRootFilesystem") is not True,
        "has a host port": any("hostPort" in port for port in container.get("ports", [])),
        "has no memory limit": "memory" not in container.get("resources", {}).get("limits", {}),
        "has no requests": set(container.get("resources", {}).get("requests", {})) < {"cpu", "memory"},
    }
    mounted = {each["name"] for each in container.get("volumeMounts", [])}
    kinds = {kind for each in volumes if each["name"] in mounted for kind in each if kind != "name"}
    return [fault for fault, found in asked.items() if found] + sorted(kinds - RESTRICTED_VOLUMES)

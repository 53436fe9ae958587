"""Objects as an API server gives them: a Deployment and a StatefulSet that run vLLM, at rest."""

from typing import Any

CONFIG = '{"method": "eagle", "model": "org/drafter",  "num_speculative_tokens": 5}'
NAMESPACE = "serving"
NAME = "vllm"


def container(config: str = CONFIG, **fields: Any) -> dict[str, Any]:
    """vLLM's container."""
    return {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.32.0",
        "args": ["--model", "org/model", "--speculative-config", config, "--port", "8000"],
    } | fields


def deployment(*containers: dict[str, Any], replicas: int = 2, **spec: Any) -> dict[str, Any]:
    """A Deployment at rest, with every field that a real one has and that is looked at."""
    labels = {"app": NAME}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "progressDeadlineSeconds": 600,
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": list(containers) or [container()]},
            },
        }
        | spec,
        "status": {
            "observedGeneration": 1,
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": replicas,
            "availableReplicas": replicas,
            "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}],
        },
    }


def stateful_set(*containers: dict[str, Any], replicas: int = 2, **spec: Any) -> dict[str, Any]:
    """A StatefulSet at rest."""
    found = deployment(*containers, replicas=replicas)
    del found["spec"]["progressDeadlineSeconds"]
    found["kind"] = "StatefulSet"
    found["spec"] |= {"serviceName": NAME, "updateStrategy": {"type": "RollingUpdate"}} | spec
    found["status"] |= {"currentRevision": "vllm-1", "updateRevision": "vllm-1"}
    del found["status"]["conditions"]
    return found


def config_of(workload: dict[str, Any]) -> str:
    """The speculative config in the arguments of `container`."""
    text: str = workload["spec"]["template"]["spec"]["containers"][0]["args"][3]
    return text


def _metadata() -> dict[str, Any]:
    return {
        "name": NAME,
        "namespace": NAMESPACE,
        "uid": "0b6f3c4e-8a5d-4c93-9a50-6f1f0f9f9b11",
        "generation": 1,
        "resourceVersion": "100",
        "labels": {"app": NAME},
        "managedFields": [
            {
                "manager": "argocd-controller",
                "operation": "Update",
                "apiVersion": "apps/v1",
                "time": "2026-01-01T00:00:00Z",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {}}}}},
            }
        ],
    }

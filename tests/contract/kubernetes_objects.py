"""Objects as an API server gives them: workloads that run vLLM, at rest."""

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


def leader_worker_set(*containers: dict[str, Any], replicas: int = 2, **spec: Any) -> dict[str, Any]:
    """A LeaderWorkerSet at rest, of two groups; the workers join the leader's vLLM."""
    found = deployment(*containers, replicas=replicas)
    worker = {"name": "vllm", "image": "vllm/vllm-openai:v0.32.0", "args": ["ray start --block"]}
    leader = found["spec"]["template"]
    found |= {"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet"}
    found["spec"] = {
        "replicas": replicas,
        "rolloutStrategy": {"type": "RollingUpdate", "rollingUpdateConfiguration": {"maxUnavailable": 1}},
        "leaderWorkerTemplate": {
            "size": 2,
            "leaderTemplate": leader,
            "workerTemplate": {"spec": {"containers": [worker]}},
        },
    } | spec
    del found["status"]["availableReplicas"]
    found["status"]["conditions"] = [{"type": "Available", "status": "True", "reason": "AllGroupsReady"}]
    return found


def args_of(workload: dict[str, Any]) -> list[str]:
    """The arguments of `container`."""
    spec = workload["spec"]
    template = spec["template"] if "template" in spec else spec["leaderWorkerTemplate"]["leaderTemplate"]
    args: list[str] = template["spec"]["containers"][0]["args"]
    return args


def config_of(workload: dict[str, Any]) -> str:
    """The speculative config in the arguments of `container`."""
    return args_of(workload)[3]


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

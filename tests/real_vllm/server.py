"""A real vLLM server on loopback, started for a test and ended with everything it started."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import requests

from real_vllm.environment import say

START_SECONDS: Final = 300
"""28 to 66 s on an idle machine with two cores; a busy one gets its time."""
STOP_SECONDS: Final = 20
MAX_NUM_SEQS: Final = 8
GUARD: Final = "import os, signal, sys; sys.stdin.read(); os.killpg(int(sys.argv[1]), signal.SIGKILL)"
"""Waits for its standard input to close and then ends a process group."""

ONE_API_SERVER: Final = ("-m", "vllm.entrypoints.openai.api_server")
SERVE: Final = str(Path(__file__).with_name("vllm_serve.py"))
PATIENT_WAIT: Final = str(Path(__file__).with_name("patient_wait"))
ARGUMENTS: Final = (
    "--host=127.0.0.1",
    "--max-model-len=1024",
    f"--max-num-seqs={MAX_NUM_SEQS}",
    "--max-num-batched-tokens=1024",
    "--enforce-eager",
    "--dtype=bfloat16",
)
ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_CI_ENV": "1",
}
"""Nothing leaves the machine, and a KV cache of 1 GiB is plenty for a model of 7 MB."""


@contextmanager
def running_server(
    python: Path,
    model: Path,
    speculative_config: Mapping[str, Any] | None = None,
    *,
    api_servers: int = 1,
    extra_arguments: Sequence[str] = (),
    extra_environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Start vLLM, wait until it is healthy, yield its address, and end its whole process group.

    The `vllm` command of the CPU package does not start, hence the module; that one starts a single API server.

    Raises:
        RuntimeError: It ended or did not become healthy; the message holds the end of its log.
    """
    port = free_port()
    arguments = [
        *(str(python), *(ONE_API_SERVER if api_servers == 1 else (SERVE, f"--api-server-count={api_servers}"))),
        *(f"--model={model}", f"--served-model-name={model.name}", f"--port={port}", *ARGUMENTS),
        *_speculation(speculative_config),
        *extra_arguments,
    ]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("VLLM_", "PYTHON"))}
    cache = str(python.parents[1] / "cache")  # what vLLM learnt of a model makes its next start quicker
    own = {**ENVIRONMENT, "VLLM_CACHE_ROOT": cache, **(extra_environment or {})}
    own["PYTHONPATH"] = os.pathsep.join(filter(None, (PATIENT_WAIT, own.get("PYTHONPATH"))))
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="vllm-") as folder, (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen(
            arguments,
            env=inherited | own,
            cwd=folder,  # `python -m` looks for modules in the working directory first
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group of its own, by which all of it can be ended
        )
        with _guarded(process):
            _wait_until_healthy(url, process, Path(log.name))
            yield url


def free_port() -> int:
    """A port of loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _speculation(config: Mapping[str, Any] | None) -> list[str]:
    """With it each reply tells its own drafts; vLLM refuses that option on a server that does not speculate."""
    if config is None:
        return []
    return [f"--speculative-config={json.dumps(config)}", "--per-request-spec-decode-metrics=summary"]


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    started = time.monotonic()
    next_word = 20.0
    while (waited := time.monotonic() - started) < START_SECONDS:
        if process.poll() is not None:
            raise RuntimeError(f"vLLM ended with status {process.returncode} while starting:\n{_tail(log)}")
        if _healthy(url):
            say(f"healthy after {waited:.0f} s")
            return
        if waited > next_word:
            say(f"still starting after {waited:.0f} s")
            next_word += 20.0
        time.sleep(0.5)
    raise RuntimeError(f"vLLM was not healthy after {START_SECONDS} s:\n{_tail(log)}")


def _healthy(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=5).ok
    except requests.RequestException:
        return False


@contextmanager
def _guarded(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the server after the block. Should the tests be killed, the guard's input closes, and it does the same."""
    arguments = [sys.executable, "-c", GUARD, str(process.pid)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, start_new_session=True) as guard:
        try:
            yield
        finally:
            _end(process)
            guard.kill()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server, its engine and its worker: politely first, then for certain."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        if _gone(process):
            break
    process.wait(timeout=STOP_SECONDS)


def _gone(process: subprocess.Popen[bytes]) -> bool:
    """Whether the whole group has ended within `STOP_SECONDS`; the engine outlives the server by a moment."""
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        process.poll()  # reaps the server, whose entry would keep the group alive
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.2)
    return False


def _tail(log: Path) -> str:
    return log.read_text("utf-8", errors="replace")[-4000:]

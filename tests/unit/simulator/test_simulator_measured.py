"""What a simulated server says that it measured, against the plugin's own ledger; and where there is no plugin."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import controller
from controller.engine.ledger import Ledger, bucket_tops
from controller.simulator.counters import Counters, StepTally
from controller.simulator.measured import measured

K_MAX, N = 4, 40
LABELS = ("chat", "code", "other", "code")

verifications = st.tuples(st.integers(0, len(LABELS) - 1), st.integers(0, K_MAX), st.integers(0, K_MAX))
steps = st.tuples(
    st.integers(1, N),
    st.integers(0, K_MAX),
    st.sampled_from(["alone", "beside prompts", "other"]),
    st.integers(1, 900).map(lambda n: n / 64),
    st.integers(1, 99),
    st.integers(1, 9000),
)


@given(st.lists(verifications), st.lists(steps))
def test_it_is_what_the_plugins_own_ledger_would_tell(
    verified: list[tuple[int, int, int]], taken: list[tuple[int, int, str, float, int, int]]
) -> None:
    """Verification by verification and step by step, whatever they are."""
    counters, ledger = Counters.fresh(len(LABELS), K_MAX), Ledger(K_MAX, N)
    for workload, drafted, luck in verified:
        accepted = min(luck, drafted)
        counters.verified[drafted, workload, accepted] += 1
        if drafted:
            ledger.begin("request", LABELS[workload], 0.0)
            ledger.verified_by_request["request"][drafted][accepted + 1] += 1
    kept = {"alone": counters.settled, "beside prompts": counters.beside_prompts, "other": counters.unsettled}
    for batch, k, kind, seconds, tokens, prompt in taken:
        read = 0 if kind == "alone" else prompt
        kept[kind].setdefault((batch, k), StepTally()).add(StepTally(1, seconds, tokens, read))
        if kind == "other":
            ledger.other_step(seconds, tokens)
        else:
            ledger.step(batch, k, seconds, tokens, read)
    ours, theirs = measured(counters, LABELS, bucket_tops(N)), ledger.document()
    assert by_name(ours) == by_name(theirs)
    assert by_class(ours) == by_class(theirs)
    assert ours["other_steps"] == theirs["other_steps"]


def by_class(document: dict[str, Any]) -> dict[tuple[int, int, bool], dict[str, Any]]:
    """Steps in no order."""
    found = {(each["batch_min"], each["k"], each["prompt_tokens"] > 0): each for each in document["steps"]}
    assert len(found) == len(document["steps"])
    return found


def by_name(document: dict[str, Any]) -> dict[str, Any]:
    """Workloads in no order."""
    return {workload["name"]: workload for workload in document["workloads"]}


SCRIPT = """
import requests
from pathlib import Path
from controller.simulator.inprocess import InProcessAdapter
from controller.simulator.server import SimulatedServer

session = requests.Session()
session.mount("http://simulated", InProcessAdapter(SimulatedServer("idle").application))
print(session.get("http://simulated/adaptive-k/v1/speculation").status_code)
try:
    SimulatedServer("idle", token_file=Path("tokens"))
except ValueError as error:
    print(error)
"""


@pytest.fixture
def installed(tmp_path: Path) -> SimpleNamespace:
    """The sidecar as its wheel leaves it, and what a script prints there."""
    package = Path(controller.__file__).parent
    shutil.copytree(package, tmp_path / "controller", ignore=shutil.ignore_patterns("engine", "__pycache__"))

    def run(script: str) -> list[str]:
        command = [sys.executable, "-c", script]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert ran.stderr == ""
        return ran.stdout.splitlines()

    return SimpleNamespace(folder=tmp_path, engine=package / "engine", run=run)


def test_without_the_plugins_wheel_a_simulated_server_serves_as_a_vllm_server_without_it(
    installed: SimpleNamespace,
) -> None:
    """404; and whoever wants to change k is told what to install."""
    status, refused = installed.run(SCRIPT)
    assert status == "404"
    assert "install adaptive-k-vllm" in refused


def test_with_the_plugins_wheel_installed_it_hosts_that(installed: SimpleNamespace) -> None:
    """Under the name that the wheel gives it."""
    shutil.copytree(installed.engine, installed.folder / "adaptive_k_vllm")
    assert installed.run(SCRIPT) == ["200"]

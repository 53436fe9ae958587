"""The environment, the models and the servers, each made once for all tests here."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from real_vllm.environment import cannot_run, say, trained_pair, vllm_python
from real_vllm.load import CONCURRENCY, send
from real_vllm.served import REQUESTS, Served, observe, speculative_config
from real_vllm.server import running_server


@pytest.fixture(scope="session")
def python(request: pytest.FixtureRequest) -> Path:
    """The interpreter with vLLM. Skips where the machine cannot run it; in CI that is a failure."""
    reason = cannot_run()
    if reason is not None:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse(f"no real vLLM on this machine: {reason}")
    with _shown(request):
        return vllm_python()


@pytest.fixture(scope="session")
def pair(request: pytest.FixtureRequest, python: Path) -> Path:
    """The folder with the trained target and drafter."""
    with _shown(request):
        return trained_pair(python)


@pytest.fixture(scope="session")
def served(
    request: pytest.FixtureRequest, python: Path, pair: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A server of the method that the test names; pytest groups the tests so that one runs at a time."""
    method: str | None = request.param
    folder = tmp_path_factory.mktemp(method or "plain")
    with ExitStack() as until_torn_down:
        with _shown(request):
            say(f"starting a server: {method or 'without speculation'}")
            server = running_server(python, pair / "target", speculative_config(method, pair))
            url = until_torn_down.enter_context(server)
        send(url, 2)  # the first requests meet a cold server
        yield Served(url, method, observe(url, folder, REQUESTS if method else CONCURRENCY))


def _shown(request: pytest.FixtureRequest) -> AbstractContextManager[None]:
    """Lets lines of progress through pytest's capture: a silent minute looks like a hang."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    shown: AbstractContextManager[None] = capture.global_and_fixture_disabled()
    return shown

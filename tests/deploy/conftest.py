"""The tools, each fetched once for all tests here."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy import tools_prometheus
from deploy.tools import CHART, Tools, cannot_build, cannot_fetch, fetched, install_debian_tools


def _need(reason: str | None, what: str) -> None:
    """Skips where the machine cannot have something; in CI that is a failure."""
    if reason is not None:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse(f"no {what} on this machine: {reason}")


@pytest.fixture(scope="session")
def helm3() -> Tools:
    """Helm 3 and kubectl 1.32."""
    _need(cannot_fetch(), "Helm and kubectl")
    return fetched("3")


@pytest.fixture(scope="session")
def helm4() -> Tools:
    """Helm 4 and kubectl 1.35."""
    _need(cannot_fetch(), "Helm and kubectl")
    return fetched("4")


@pytest.fixture(scope="session", params=["3", "4"], ids=["helm3", "helm4"])
def tools(request: pytest.FixtureRequest) -> Tools:
    """Each generation in turn."""
    tools: Tools = request.getfixturevalue(f"helm{request.param}")
    return tools


@pytest.fixture(scope="session")
def image_tools() -> None:
    """buildah, podman, runc and debootstrap are there."""
    _need(cannot_build(), "image to build")
    install_debian_tools()


@pytest.fixture(scope="session")
def prometheus_tools() -> None:
    """Prometheus, promtool, Alertmanager and amtool are there."""
    _need(tools_prometheus.cannot_have(), "Prometheus")
    tools_prometheus.install()


@pytest.fixture
def refusal(tools: Tools, tmp_path: Path) -> Callable[[str], str]:
    """What Helm says to values that the chart must not take."""

    def said(values: str) -> str:
        path = tmp_path / "values.yaml"
        path.write_text(values, "utf-8")
        ran = tools.helm("template", "release", CHART, "--values", path, check=False)
        assert ran.code != 0, ran.out
        return ran.err

    return said

"""The image: what is in it, what is not, and that it runs where it may do nothing."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.metadata import distributions
from pathlib import Path

import jsonschema
import pytest
import requests
from loopback import unused_port

import controller
from controller.report.document import schema
from deploy.image import BASE, Image, built
from deploy.manifests import ours
from deploy.tools import KUBERNETES, ROOT, Tools, call, say

BIN = Path(sys.executable).parent
PLUGIN = "/opt/adaptive-k/vllm-plugin"
WAIT_SECONDS = 60
BUILD_SECONDS = 1200


def test_the_dockerfile_lints_without_a_finding() -> None:
    """By hadolint."""
    assert call(BIN / "hadolint", ROOT / "Dockerfile").out == ""


def test_a_bill_of_materials_lists_every_locked_package(tmp_path: Path) -> None:
    """By cyclonedx, validated against its schema, with a version each, and the same again to the byte."""
    bills = [tmp_path / name for name in ("one.json", "two.json")]
    for bill in bills:
        sbom(bill)
    listed = {f"{each['name']}=={each['version']}" for each in json.loads(bills[0].read_text("utf-8"))["components"]}
    locked = (ROOT / "requirements" / "run.lock").read_text("utf-8").splitlines()
    assert listed == {line for line in locked if "==" in line}
    assert bills[0].read_bytes() == bills[1].read_bytes()


def sbom(path: Path) -> None:
    """Write the bill of materials of the locked packages."""
    lock, project = ROOT / "requirements" / "run.lock", ROOT / "pyproject.toml"
    written = ("--output-reproducible", "--validate", "--output-file", path)
    call(BIN / "cyclonedx-py", "requirements", "--pyproject", project, *written, lock)


@pytest.fixture(scope="module")
def image(image_tools: None, request: pytest.FixtureRequest) -> Iterator[Image]:
    """The image of this checkout."""
    with ExitStack() as until_torn_down:
        with shown(request):
            image = until_torn_down.enter_context(built())
            size, base = image.size_bytes(), image.size_bytes(BASE)
            say(f"image of {size / 1e6:.0f} MB, {(size - base) / 1e6:.0f} of it ours, on a base of {base / 1e6:.0f} MB")
        yield image


def shown(request: pytest.FixtureRequest) -> AbstractContextManager[None]:
    """Lets lines through pytest's capture."""
    through: AbstractContextManager[None] = request.config.pluginmanager.getplugin(
        "capturemanager"
    ).global_and_fixture_disabled()
    return through


@pytest.fixture(scope="module")
def simulated() -> Iterator[str]:
    """The address of a simulated vLLM server on the loopback."""
    port = unused_port()
    command = [str(BIN / "controller"), "simulate", "--listen", f"127.0.0.1:{port}", "--speed", "20"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            waited(lambda: requests.get(f"http://127.0.0.1:{port}/health", timeout=5))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def waited(ask: Callable[[], requests.Response]) -> requests.Response:
    """The first answer with status 200."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            answer = ask()
            if answer.status_code == 200:
                return answer
        except requests.ConnectionError:
            pass
        assert time.monotonic() < until, f"no answer with status 200 within {WAIT_SECONDS} s"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(BUILD_SECONDS)
def test_the_image_says_what_it_is_and_whom_it_runs_as(image: Image) -> None:
    """In its own configuration, which Kubernetes reads for runAsNonRoot."""
    config = image.description["Config"]
    assert config["User"] == "65532:65532"
    assert (config["Entrypoint"], config["Cmd"]) == (["controller"], ["run"])
    assert config["Labels"]["org.opencontainers.image.version"] == controller.__version__
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert image.run("--version") == (0, f"adaptive-k {controller.__version__}\n")


@pytest.mark.slow
@pytest.mark.timeout(BUILD_SECONDS)
def test_the_image_holds_the_locked_packages_and_nothing_to_build_with(image: Image) -> None:
    """No compiler, no pip beside the sidecar, no vLLM."""
    names = "from importlib.metadata import distributions as d; print(*sorted(f'{x.name}=={x.version}' for x in d()))"
    locked = (ROOT / "requirements" / "run.lock").read_text("utf-8").splitlines()
    wanted = {line for line in locked if "==" in line} | {f"adaptive-k=={controller.__version__}"}
    assert normal(image.python(names).split()) == normal(wanted)
    for program in ("cc", "gcc", "c++", "ld", "make", "vllm"):
        assert image.run("-c", f"command -v {program}", entrypoint="sh", check=False)[0] != 0


def normal(names: list[str] | set[str]) -> set[str]:
    """Names of distributions as they are compared."""
    return {name.lower().replace("_", "-").replace(".", "-") for name in names}


@pytest.mark.slow
@pytest.mark.timeout(BUILD_SECONDS)
def test_the_image_runs_where_it_may_do_nothing(image: Image, simulated: str, request: pytest.FixtureRequest) -> None:
    """Read-only, without capabilities, against a server; it ends in order when it is told to."""
    with started(image, "run", "--url", simulated, "--interval-seconds", "1") as (process, url, seconds):
        with shown(request):
            say(f"image started in {seconds:.2f} s, from `podman run` to /livez")
        assert requests.get(f"{url}/readyz", timeout=5).status_code == 200
        answer = waited(lambda: requests.get(f"{url}/recommendation", timeout=5)).json()
        jsonschema.validate(answer, schema())
        waited(lambda: contains(requests.get(f"{url}/metrics", timeout=5), "adaptive_k_recommended_k{"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0
    state = image.python("print(open('/proc/self/status').read(), __import__('os').getuid())")
    assert "CapEff:\t0000000000000000" in state
    assert "NoNewPrivs:\t1" in state
    assert state.split()[-1] == "65532"
    assert image.run("-c", "touch /x /opt/adaptive-k/x /tmp/x", entrypoint="sh", check=False)[1].count("Read-only") == 3


def contains(answer: requests.Response, words: str) -> requests.Response:
    """The answer, not found while it lacks the words."""
    if words not in answer.text:
        answer.status_code = 404
    return answer


@contextmanager
def started(image: Image, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str, float]]:
    """The command in the image, where it listens, and how long it took until /livez answered."""
    port = unused_port()
    before = time.monotonic()
    with image.running(*arguments, "--listen", f"127.0.0.1:{port}") as process:
        drain = threading.Thread(target=process.communicate, daemon=True)  # a full pipe would stop it
        drain.start()
        url = f"http://127.0.0.1:{port}"
        waited(lambda: requests.get(f"{url}/livez", timeout=5))
        yield process, url, time.monotonic() - before
        drain.join(WAIT_SECONDS)


@pytest.mark.slow
@pytest.mark.timeout(BUILD_SECONDS)
def test_the_init_container_fills_a_folder_that_vllm_finds_the_plugin_in(
    image: Image, helm4: Tools, tmp_path: Path
) -> None:
    """With the command of the Component, as uid 65532, into a volume like an emptyDir."""
    (workload,) = (
        each for each in helm4.kustomize(KUBERNETES / "examples" / "vllm-eagle") if each["kind"] == "Deployment"
    )
    copier, _ = ours(workload["spec"]["template"]["spec"])
    folder = tmp_path / "plugin"
    folder.mkdir()
    folder.chmod(0o777)
    program, *arguments = copier["command"]
    image.run(*arguments, entrypoint=program, volumes=(f"{folder}:/plugin",))
    (found,) = distributions(path=[str(folder)])
    assert found.name == "adaptive-k-vllm"
    assert {(each.group, each.name) for each in found.entry_points} == {
        ("vllm.general_plugins", "adaptive_k"),
        ("vllm.endpoint_plugins", "adaptive_k"),
    }
    modules = {path.name for path in (ROOT / "controller" / "engine").glob("*.py")}
    assert {path.name for path in (folder / "adaptive_k_vllm").glob("*.py")} == modules

"""Real processes to watch with and to be watched: Prometheus, Alertmanager, a webhook, simulated servers, sidecars."""

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import requests
import yaml
from loopback import unused_port

from controller.simulator.server import SimulatedServer, find_scenario

ROOT: Final = Path(__file__).parents[2]
RULES: Final = tuple(sorted((ROOT / "deploy" / "prometheus").glob("*.yaml")))
TOKEN: Final = "a-token-of-the-operators"
CONTROLLER: Final = (sys.executable, "-m", "controller")
HASTE: Final = 40
"""In a hasty copy of the rules a minute is 1.5 seconds."""
_DURATION: Final = re.compile(r"(?<=\[)\d+[smhd](?=\])|(?<=offset )\d+[smhd]|(?<=for: )\d+[smhd]|(?<=interval: )\d+s")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_STARTS_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str
    process: "subprocess.Popen[bytes]"

    def stop(self) -> None:
        """End it now, as if its machine had died."""
        self.process.kill()
        self.process.wait()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query: `metric` (labels) and `value` (time and text).

        Raises:
            RuntimeError: Prometheus refuses it; the message says why.
        """
        answer = requests.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=10).json()
        if answer["status"] != "success":
            raise RuntimeError(f"{expression}: {answer['error']}")
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def values(self, expression: str) -> list[float]:
        """Only the values of an instant query."""
        return [float(each["value"][1]) for each in self.query(expression)]


@dataclass
class Webhook:
    """What an Alertmanager delivered."""

    alerts: list[dict[str, Any]] = field(default_factory=list)

    def names(self, scenario: str) -> set[str]:
        """The alerts that fired for a scenario."""
        fired = (each["labels"] for each in list(self.alerts) if each["status"] == "firing")
        return {labels["alertname"] for labels in fired if labels.get("scenario") == scenario}


@dataclass(frozen=True)
class Watched:
    """A simulated server and the sidecar beside it."""

    server: str
    sidecar: str
    sidecar_process: "subprocess.Popen[bytes]"
    log: Path

    def alive(self) -> bool:
        """Whether the sidecar runs; fails with the end of its log when it does not."""
        assert self.sidecar_process.poll() is None, self.log.read_text("utf-8")[-4000:]
        return True

    def scrape(self, scenario: str) -> list[dict[str, Any]]:
        """Scrape configurations of both."""
        return [
            {"targets": [address.removeprefix("http://")], "labels": {"job": job, "scenario": scenario}}
            for job, address in (("vllm", self.server), ("adaptive-k", self.sidecar))
        ]


@contextmanager
def watched(
    scenario: str, folder: Path, *, speed: float, options: tuple[str, ...] = (), model_name: str | None = None
) -> Iterator[Watched]:
    """A simulated server of a scenario with the plugin, and `controller run` beside it, a pass every second.

    Simulated time runs `speed` times as fast; give `--mode apply` a long `--ttl-seconds`, since the plugin's clock is
    the simulated one. `model_name` in place of the scenario's.
    """
    tokens = folder / f"{scenario}.token"
    tokens.write_text(TOKEN, "utf-8")
    sidecar, log = f"127.0.0.1:{unused_port()}", folder / f"{scenario}.sidecar.log"
    with _served(scenario, folder, speed, tokens, model_name) as server:
        run = ("run", "--url", server, "--listen", sidecar, "--interval-seconds", "1", *options)
        with process(log, *CONTROLLER, *run, "--plugin-token-file", str(tokens)) as watching:
            wait_until_up(f"http://{sidecar}/readyz", watching)
            yield Watched(server, f"http://{sidecar}", watching, log)


@contextmanager
def _served(scenario: str, folder: Path, speed: float, tokens: Path, model_name: str | None) -> Iterator[str]:
    """A simulated server's address; in this process where its model has another name than a scenario may give it."""
    if model_name is not None:
        named = replace(find_scenario(scenario), model_name=model_name)
        with SimulatedServer(named, speed=speed, token_file=tokens) as server:
            yield server.url
        return
    address = f"127.0.0.1:{unused_port()}"
    simulate = ("simulate", "--listen", address, "--scenario", scenario, "--speed", str(speed))
    log = folder / f"{scenario}.server.log"
    with process(log, *CONTROLLER, *simulate, "--plugin-token-file", str(tokens)) as serving:
        wait_until_up(f"http://{address}/health", serving)
        yield f"http://{address}"


@contextmanager
def prometheus(
    folder: Path,
    targets: list[dict[str, Any]],
    *,
    rules: tuple[Path, ...] = (),
    alertmanager: str | None = None,
    options: tuple[str, ...] = (),
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes these targets every two seconds, patiently, since test machines stall.

    What lies in the folder's `tsdb` already is served; `options` are further flags.
    """
    configuration: dict[str, Any] = {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
        "scrape_configs": [{"job_name": "all", "static_configs": targets}],
        "rule_files": [str(each) for each in rules],
    }
    if alertmanager is not None:
        address = alertmanager.removeprefix("http://")
        configuration["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [address]}]}]}
    file = folder / "prometheus.yaml"
    file.write_text(yaml.safe_dump(configuration), "utf-8")
    address = f"127.0.0.1:{unused_port()}"
    arguments = (f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address={address}")
    with process(
        folder / "prometheus.log",
        "prometheus",
        *arguments,
        *options,
        "--rules.alert.resend-delay=2s",
        "--log.level=warn",
    ) as running:
        wait_until_up(f"http://{address}/-/ready", running)
        yield Prometheus(f"http://{address}", running)


@contextmanager
def alertmanager(folder: Path, webhook: str) -> Iterator[str]:
    """An Alertmanager that delivers every alert to a webhook at once; its address."""
    file = folder / "alertmanager.yaml"
    route = {"receiver": "test", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s"}
    receivers = [{"name": "test", "webhook_configs": [{"url": webhook, "send_resolved": True}]}]
    file.write_text(yaml.safe_dump({"route": route, "receivers": receivers}), "utf-8")
    address = f"127.0.0.1:{unused_port()}"
    arguments = (f"--config.file={file}", f"--storage.path={folder / 'alertmanager'}", "--cluster.listen-address=")
    listen = f"--web.listen-address={address}"
    with process(folder / "alertmanager.log", "prometheus-alertmanager", *arguments, listen) as running:
        wait_until_up(f"http://{address}/-/ready", running)
        yield f"http://{address}"


@contextmanager
def webhook() -> Iterator[tuple[str, Webhook]]:
    """A receiver of alerts: its address, and what it got."""
    received = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.alerts.extend(json.loads(body)["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  (the base class names it so)
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/", received
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def process(log: Path, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A program that runs until the block ends, its output in a file."""
    with log.open("wb") as output:
        running = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield running
        finally:
            running.terminate()
            try:
                running.wait(timeout=20)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def wait_until_up(url: str, running: "subprocess.Popen[bytes]") -> None:
    """Wait until an address answers with 200; fails at once when the program ends instead."""

    def up() -> bool:
        assert running.poll() is None, f"{running.args!r} ended with {running.returncode}"
        try:
            return requests.get(url, timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    wait_until(up, _STARTS_SECONDS, url)


def wait_until(holds: Callable[[], bool], patience_seconds: float, what: object) -> None:
    """Ask again and again until something holds."""
    until = time.monotonic() + patience_seconds
    while not holds():
        assert time.monotonic() < until, f"not within {patience_seconds:g} s: {what}"
        time.sleep(0.2)


def hasty(rules: Path, folder: Path) -> Path:
    """A copy of a rules file in which every duration is `HASTE` times shorter, so that a test need not wait for it."""
    copy = folder / rules.name
    text = rules.read_text("utf-8")
    copy.write_text(_DURATION.sub(lambda found: _shorter(found.group()), text), "utf-8")
    return copy


def _shorter(duration: str) -> str:
    return f"{int(duration[:-1]) * _SECONDS[duration[-1]] * 1000 // HASTE}ms"

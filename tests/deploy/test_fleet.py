"""Many servers in a real Prometheus, scraped live or backfilled: what `recommend --prometheus-url` says is true.

The truth is what a scrape of the same server says, and the simulator's own expectation.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests
from fleet import fleets, truth
from fleet.stored import serving, store
from loopback import unused_port

from controller.observe.http import Fetcher
from controller.observe.prometheus.client import PROMETHEUS, Client
from controller.observe.prometheus.fleet import Fleet
from controller.observe.prometheus.history import History
from controller.observe.prometheus.source import PastSource
from controller.observe.snapshot import Snapshot
from controller.observe.vllm_metrics import read_page
from controller.observe.window import between
from controller.report.document import schema
from deploy.prometheus import Prometheus, process, prometheus, wait_until, wait_until_up

pytestmark = [pytest.mark.usefixtures("prometheus_tools"), pytest.mark.timeout(600)]
SECONDS = 900.0
SPEED = 20
WIDEST = 5.0
"""Upper over lower bound of any gain: bounds that hold everything would say nothing."""
COUNTED = ("drafts", "steps", "generated_tokens", "latency_samples", "accepted_tokens", "prompt_tokens")


def recommend(url: str, *arguments: str, expect: int = 0) -> tuple[dict[str, Any], str]:
    """The JSON document, valid by its schema, and what was said beside it."""
    command = ("recommend", "--prometheus-url", url, "-o", "json", *arguments)
    ran = subprocess.run([sys.executable, "-m", "controller", *command], capture_output=True, text=True, check=False)
    assert ran.returncode == expect, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout) if ran.stdout else {}
    if found:
        jsonschema.Draft202012Validator(schema()).validate(found)
    return found, ran.stderr


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Six workloads with two pods each, a quarter of an hour up to now."""
    folder = tmp_path_factory.mktemp("stored")
    pods = fleets.replicas(fleets.KINDS, 2, seconds=SECONDS, troubled=False)
    store(pods, folder, beginning_unix_seconds=float(int(time.time() - SECONDS)), seconds=SECONDS)
    with serving(folder, "--query.max-samples=1000") as found:
        yield found


def test_what_each_k_would_yield_lies_within_its_bounds(stored: Prometheus) -> None:
    """Against now, by the simulator; and what is recommended is no loss, for any workload."""
    found, _ = recommend(stored.url, "--group-by", "namespace")
    rows = {each["model_name"]: each for each in found["servers"]}
    assert set(rows) == {each.model_name for each in fleets.KINDS}
    for scenario in fleets.KINDS:
        row, stretch = rows[scenario.model_name], truth.at(scenario, SECONDS - 60)
        assert stretch is not None
        assert row["replicas"] == {"known": 2, "counted": 2, "left_out": {}, "message": None}
        assert len(row["scores"]) == (scenario.k_max + 1 if scenario.speculates else 0)
        for score in row["scores"]:
            assert score["gain_high"] <= WIDEST * score["gain_low"]
            true = stretch.tokens_per_second[score["k"]] / stretch.tokens_per_second[stretch.k]
            assert score["gain_low"] * 0.99 <= true <= score["gain_high"] * 1.01, (scenario.model_name, score)
        answer = row["recommendation"]
        if answer["action"] != "hold":
            assert stretch.tokens_per_second[answer["k"]] > stretch.tokens_per_second[stretch.k]
    assert rows["timid-8b"]["recommendation"]["k"] == 5
    gains = [each["gain_tokens_per_second"] for each in found["servers"] if each["gain_tokens_per_second"] is not None]
    assert gains == sorted(gains, reverse=True)
    assert found["fleet"]["gain_tokens_per_second"] == pytest.approx(rows["timid-8b"]["gain_tokens_per_second"])


def test_one_row_of_replicas_says_what_each_of_them_says(stored: Prometheus) -> None:
    """The mean batch and step of a group are those of its replicas, not their sum."""
    single, _ = recommend(stored.url)
    found, _ = recommend(stored.url, "--group-by", "namespace", "--match", 'namespace="llm-chat-8b"')
    (group,) = found["servers"]
    each = [row for row in single["servers"] if row["model_name"] == "chat-8b"]
    assert len(each) == 2
    assert group["decode_batch"] == pytest.approx(each[0]["decode_batch"], rel=0.02)
    assert group["step_seconds"] == pytest.approx(each[0]["step_seconds"], rel=0.05)
    total = sum(row["decoded_tokens_per_second"] for row in each)
    assert group["decoded_tokens_per_second"] == pytest.approx(total, rel=0.02)


def test_a_query_that_is_too_much_for_the_store_is_asked_for_in_parts(stored: Prometheus) -> None:
    """This Prometheus loads no more than 1,000 samples at once, and the positions alone have more."""
    found, _ = recommend(stored.url, "--window-seconds", "800", "--group-by", "namespace")
    assert found["fleet"]["engines"] == 10


@dataclass(frozen=True)
class Site:
    """Simulated servers, and a Prometheus that scrapes them live."""

    prometheus: Prometheus
    servers: dict[str, str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three servers with an instance label of their own, and two that share theirs."""
    folder = tmp_path_factory.mktemp("site")
    servers, targets = {}, []
    with ExitStack() as stack:
        for name, scenario in (("a", "steady-code"), ("b", "steady-prose"), ("x", "saturation"), ("y", "steady-code")):
            address = f"127.0.0.1:{unused_port()}"
            arguments = ("simulate", "--listen", address, "--scenario", scenario, "--speed", str(SPEED))
            running = stack.enter_context(
                process(folder / f"{name}.log", sys.executable, "-m", "controller", *arguments)
            )
            wait_until_up(f"http://{address}/health", running)
            servers[name] = f"http://{address}"
            shared = name in "xy"
            labels = {"namespace": "shared" if shared else f"llm-{name}", "instance": "one" if shared else name}
            targets.append({"targets": [address], "labels": labels})
        found = stack.enter_context(prometheus(folder, targets))
        wait_until(lambda: len(found.query("vllm:generation_tokens_total[20s]")) >= 3, 60, "scrapes")
        site = Site(found, servers)
        wait_until(lambda: len(scrapes(site, "a")) >= 8, 60, "scrapes")
        yield site


def scrapes(site: Site, instance: str) -> list[float]:
    """When Prometheus scraped a server."""
    found = site.prometheus.query(f'vllm:generation_tokens_total{{instance="{instance}"}}[10m]')
    return [float(time) for each in found for time, _ in each["values"]]


def spanned(times: list[float]) -> float:
    """Seconds between the first and the last."""
    return max(times) - min(times) if times else 0.0


@pytest.mark.parametrize("instance", ["a", "b"])
def test_the_store_says_what_the_server_itself_says(site: Site, instance: str) -> None:
    """Two of our own scrapes around several of Prometheus': its window lies within ours, and its rates are ours."""

    def direct() -> Snapshot:
        return read_page(requests.get(f"{site.servers[instance]}/metrics", timeout=10).text, time.time())[0]

    before, known = direct(), len(scrapes(site, instance))
    wait_until(lambda: len(scrapes(site, instance)) >= known + 5, 60, "scrapes")
    after = direct()
    times = [each for each in scrapes(site, instance) if before.at_seconds < each < after.at_seconds]  # type: ignore[operator]
    client = Client(site.prometheus.url, Fetcher(peer=PROMETHEUS))
    source = PastSource(History(client, f'instance="{instance}"'), Fleet(), (times[0] + 0.001, times[-1] + 0.001))
    (early,), (late,) = source.read(), source.read()
    ours, theirs = between(before, after), between(early, late)
    assert theirs.seconds == pytest.approx(times[-1] - times[0])
    for field in COUNTED:
        assert 0 < getattr(theirs, field) <= getattr(ours, field)
    assert theirs.decode_batch == pytest.approx(ours.decode_batch, rel=0.1)
    assert theirs.step_seconds == pytest.approx(ours.step_seconds, rel=0.1)
    assert theirs.mean_acceptance_length == pytest.approx(ours.mean_acceptance_length, rel=0.1)
    assert early.accepted_by_position != late.accepted_by_position


def test_two_servers_under_one_instance_label_are_named_and_the_others_judged(site: Site) -> None:
    """What Prometheus stores of them is a series that jumps between both."""
    wait_until(lambda: all(spanned(scrapes(site, each)) > 30 for each in ("a", "b", "one")), 60, "30 s of scrapes")
    found, said = recommend(site.prometheus.url, "--window-seconds", "20")
    rows = {each["labels"]["instance"]: each for each in found["servers"]}
    assert rows["one"]["replicas"]["counted"] == 0
    assert rows["one"]["replicas"]["left_out"] == {"series_shared": 1}
    assert rows["a"]["scores"]
    assert rows["b"]["scores"]
    assert "two servers write the same series" in said


def test_a_selector_that_matches_nothing_and_one_that_is_none(site: Site) -> None:
    """The store's own list; and a regular expression that it does not take."""
    _, said = recommend(site.prometheus.url, "--match", 'namespace="elsewhere"', expect=1)
    assert "namespace='llm-a'" in said
    _, said = recommend(site.prometheus.url, "--match", 'namespace=~"("', expect=1)
    assert "check --match" in said


def test_run_watches_the_fleet_live(site: Site, tmp_path: Path) -> None:
    """Its own page has every group, by the labels of the servers."""
    address = f"127.0.0.1:{unused_port()}"
    options = ("--prometheus-url", site.prometheus.url, "--interval-seconds", "3", "--listen", address)
    log = tmp_path / "log"
    with process(log, sys.executable, "-m", "controller", "run", *options) as running:
        wait_until_up(f"http://{address}/readyz", running)

        def judged() -> bool:
            page = requests.get(f"http://{address}/metrics", timeout=10).text
            lines = [line for line in page.splitlines() if line.startswith("adaptive_k_recommended_k{")]
            return all(any(f'namespace="llm-{each}"' in line for line in lines) for each in "ab")

        wait_until(judged, 90, "every group is judged")
        (failed,) = (
            each
            for each in requests.get(f"http://{address}/recommendation", timeout=10).json()["servers"]
            if each["labels"]["namespace"] == "shared"
        )
    assert failed["replicas"]["counted"] == 0

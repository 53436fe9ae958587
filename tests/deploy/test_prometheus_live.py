"""The whole way: a real Prometheus scrapes, rules fire, a real Alertmanager delivers; and a good server is silent.

The rules are a copy in which every `for`, range and offset is 40 times shorter, so a minute takes 1.5 seconds;
thresholds are as shipped. Three pairs of a simulated server and a sidecar run beside each other:

- negative: a drafter that loses at every batch. The operator measures k=0 for a moment, as the runbook says.
- dull: text that no drafter can guess, on a server whose k never varied, and whose model has a hostile name.
- good: a sharp drafter on an easy load, under live control, which explores.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from controller.serve.telemetry_table import FAMILIES
from deploy.prometheus import (
    RULES,
    TOKEN,
    Prometheus,
    Watched,
    Webhook,
    alertmanager,
    hasty,
    prometheus,
    wait_until,
    watched,
    webhook,
)

HOSTILE = '"<img src=x onerror=alert(1)>\n\u202e\\' + "y" * 4096
APPLY = ("--mode", "apply", "--ttl-seconds", "3600", "--capture-limit-tokens", "4096")
PAIRS: dict[str, tuple[str, float, tuple[str, ...], str | None]] = {
    "negative": ("moe-negative", 5.0, (), None),
    "dull": ("zero-and-back", 2.0, (), HOSTILE),
    "good": ("steady-code", 3.0, APPLY, None),
}
"""Scenario, how fast time runs, options of the sidecar, and what the model is called in place of the scenario's."""
PATIENCE_SECONDS = 400.0
pytestmark = [
    pytest.mark.usefixtures("prometheus_tools"),
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.flaky(reruns=1),
]


CHANGED = re.compile("last_change|predict|realised|crossover")
"""Series that come with a change of k, or a schedule that ends in k=0."""


@dataclass(frozen=True)
class Site:
    """All that runs."""

    negative: Watched
    dull: Watched
    good: Watched
    watcher: Prometheus
    received: Webhook

    def alive(self) -> bool:
        """Whether all sidecars run; fails when one does not."""
        return self.negative.alive() and self.dull.alive() and self.good.alive()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Servers, sidecars, Prometheus, Alertmanager and a webhook."""
    folder = tmp_path_factory.mktemp("site")
    with ExitStack() as running:
        pairs = {
            name: running.enter_context(watched(scenario, folder, speed=speed, options=options, model_name=model))
            for name, (scenario, speed, options, model) in PAIRS.items()
        }
        address, received = running.enter_context(webhook())
        manager = running.enter_context(alertmanager(folder, address))
        targets = [target for name, pair in pairs.items() for target in pair.scrape(name)]
        rules = tuple(hasty(each, folder) for each in RULES)
        watcher = running.enter_context(prometheus(folder, targets, rules=rules, alertmanager=manager))
        yield Site(**pairs, watcher=watcher, received=received)


def test_a_loss_pages_and_a_good_server_is_silent(site: Site) -> None:
    """Measured and modelled losses are told as such, with collapsed acceptance; nothing else, and nothing of good."""
    measure_k0(site)
    expected = {
        "negative": {"AdaptiveKNegativeMargin"},
        "dull": {"AdaptiveKNegativeMarginModelled", "AdaptiveKAcceptanceCollapsed"},
    }
    wait_until(
        lambda: site.alive() and all(names <= site.received.names(scenario) for scenario, names in expected.items()),
        PATIENCE_SECONDS,
        site.received,
    )
    for scenario, names in expected.items():
        assert site.received.names(scenario) == names
    delivered = next(each for each in site.received.alerts if each["labels"]["alertname"] == "AdaptiveKNegativeMargin")
    assert delivered["labels"] | {"instance": ""} == {
        "alertname": "AdaptiveKNegativeMargin",
        "severity": "warning",
        "job": "adaptive-k",
        "instance": "",
        "scenario": "negative",
        "model_name": "simulated-30b-a3b",
        "engine": "0",
        "against": "k0",
        "basis": "measured",
    }
    assert delivered["annotations"]["runbook_url"].endswith("/deploy/runbooks/AdaptiveKNegativeMargin.md")
    # good ran beside them, so it had as long as the alert that waits longest
    assert site.watcher.values('adaptive_k_margin_low_ratio{scenario="good", against="k0"}')[0] > 0
    assert site.watcher.query('count_over_time(ALERTS{scenario="good", alertstate="firing"}[1h])') == []
    assert site.received.names("good") == set()


def measure_k0(site: Site) -> None:
    """Run k=0 by hand until its steps are measured, then return to the launch schedule."""
    resource = f"{site.negative.server}/adaptive-k/v1/speculation"
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    told = requests.get(resource, headers=bearer, timeout=10).json()
    wanted = {
        "schedule": [[1, told["max_num_seqs"], 0]],
        "ttl_seconds": 3600,
        "owner": "operator",
        "expected": {"boot_id": told["boot_id"], "generation": told["generation"]},
        "allow_k_without_graph": True,
    }
    assert requests.put(resource, json=wanted, headers=bearer, timeout=10).status_code == 200
    measured = 'adaptive_k_margin_ratio{scenario="negative", against="k0", basis="measured"}'
    wait_until(lambda: bool(site.watcher.query(measured)), PATIENCE_SECONDS, measured)
    assert requests.delete(resource, headers=bearer, timeout=10).status_code == 200


def test_a_hostile_model_name_reaches_metrics_page_log_and_alert_escaped(site: Site) -> None:
    """Four thousand characters, with markup, quotes, a new line: whole as a label, short and on one line in words."""
    alert = "AdaptiveKNegativeMarginModelled"
    wait_until(lambda: alert in site.received.names("dull"), PATIENCE_SECONDS, site.received)
    delivered = next(each for each in site.received.alerts if each["labels"]["alertname"] == alert)
    assert delivered["labels"]["model_name"] == HOSTILE
    description = delivered["annotations"]["description"]
    assert description.startswith('"\\"<img src=x onerror=alert(1)>\\n\\u202e')
    assert description.isprintable()
    assert len(description) < 400
    page = requests.get(site.dull.sidecar, timeout=10).text
    assert "onerror=alert(1)&gt;" in page
    assert "<img" not in page
    assert "y" * 65 not in page
    document = requests.get(f"{site.dull.sidecar}/recommendation", timeout=10).json()
    assert document["servers"][0]["model_name"] == HOSTILE
    log = [json.loads(line) for line in site.dull.log.read_text("utf-8").splitlines()]
    assert {line["model_name"] for line in log if line["event"] == "decision"} == {HOSTILE}


def test_what_prometheus_recorded_is_what_the_sidecar_says(site: Site) -> None:
    """Two ways to the same numbers: recording rules from vLLM's counters, and the sidecar's windows."""
    pairs = (
        ("adaptive_k:acceptance_length_tokens:rate5m", "adaptive_k_acceptance_length_tokens", 0.1),
        ("adaptive_k:step_seconds:rate5m", "adaptive_k_step_seconds", 0.1),
        ("adaptive_k:decode_batch_requests:rate5m", "adaptive_k_batch_requests", 0.1),
        ("adaptive_k:draft_length_tokens:rate5m", "adaptive_k_effective_k", 0.1),
    )

    def known(name: str) -> bool:
        return bool(site.watcher.query(f'{name}{{scenario="negative"}}'))

    for recorded, told, tolerance in pairs:
        wait_until(partial(known, recorded), 30, recorded)
        (left,) = site.watcher.values(f'avg_over_time({recorded}{{scenario="negative"}}[10s])')
        (right,) = site.watcher.values(f'avg_over_time({told}{{scenario="negative"}}[10s])')
        assert left == pytest.approx(right, rel=tolerance), recorded


@pytest.mark.parametrize("name", PAIRS)
def test_promtool_finds_nothing_to_complain_about_on_a_page(site: Site, name: str) -> None:
    """`promtool check metrics`; it speaks only of faults, and not always by its status."""
    page = requests.get(f"{getattr(site, name).sidecar}/metrics", timeout=10).content
    said = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, b"", b"")


def test_a_page_under_live_control_has_every_series_but_those_of_a_change(site: Site) -> None:
    """What dashboards and rules ask for is there, with the labels that the table declares."""
    page = requests.get(f"{site.good.sidecar}/metrics", timeout=10).text
    found = {
        sample.name: set(sample.labels) for family in text_string_to_metric_families(page) for sample in family.samples
    }
    declared = {each.name: set(each.labels) for each in FAMILIES}
    assert {name: declared[name] for name in found} == found
    missing = {name for name in declared.keys() - found.keys() if not CHANGED.search(name)}
    assert missing <= {"adaptive_k_schedule_expiry_timestamp_seconds"}  # nothing is held while launch is the best


def test_a_sidecar_that_ends_is_told(site: Site) -> None:
    """And its server's own alerts stay, since they need no sidecar. The last test: it ends one."""
    site.dull.sidecar_process.terminate()
    wait_until(lambda: "AdaptiveKDown" in site.received.names("dull"), PATIENCE_SECONDS, site.received)
    assert site.received.names("good") == set()

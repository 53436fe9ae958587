"""The page, against pages that a real vLLM 0.32 wrote."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controller.simulator.page import go_float
from controller.simulator.scenarios import SCENARIOS
from controller.simulator.server import SimulatedServer

PAGES = sorted((Path(__file__).parents[2] / "data" / "vllm_pages").glob("vllm-*.txt"))
SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="')


def heads(page: str, word: str) -> dict[str, str]:
    """HELP texts or types by family name, as written."""
    lines = [line.split(" ", 3) for line in page.splitlines() if line.startswith(f"# {word} ")]
    return {name: rest for _, _, name, rest in lines}


def labels(page: str) -> dict[str, list[str]]:
    """Label names in order by sample name."""
    matches = [SAMPLE.match(line) for line in page.splitlines() if not line.startswith("#")]
    return {match[1]: LABEL.findall(match[2] or "") for match in matches if match}


def bounds(page: str, family: str) -> list[str]:
    """Upper bounds of the buckets of a histogram, in order."""
    return re.findall(rf'^{family}_bucket{{.*le="([^"]+)"', page, flags=re.MULTILINE)


def simulated(scenario: str = "steady-chat", seconds: float = 20, k: int | None = None) -> str:
    """A page of a simulated server."""
    server = SimulatedServer(scenario, k=k)
    server.advance_to(seconds)
    return server.page()


def values(page: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of a page, by name and labels, read by prometheus_client's parser."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_there_are_pages_to_compare_with() -> None:
    """The captures are part of the repository."""
    assert len(PAGES) == 7


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
@pytest.mark.parametrize("word", ["HELP", "TYPE"])
def test_every_family_is_described_as_vllm_describes_it(path: Path, word: str) -> None:
    """Names, HELP texts and types, to the letter; servers with several API processes write no _created."""
    real, ours = heads(path.read_text(), word), heads(simulated(), word)
    both_processes = "api2" in path.stem
    missing = {name for name in ours if name not in real}
    assert missing <= (
        {n for n in ours if n.endswith("_created")} | {"process_start_time_seconds"} if both_processes else set()
    )
    assert {name: text for name, text in ours.items() if name in real} == {
        name: real[name] for name in ours if name in real
    }


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_sample_has_vllms_labels(path: Path) -> None:
    """The same label names, in the same order."""
    real, ours = labels(path.read_text()), labels(simulated())
    common = [name for name in ours if name in real]
    assert len(common) > 40
    assert {name: ours[name] for name in common} == {name: real[name] for name in common}


@pytest.mark.parametrize(
    "family",
    [
        "vllm:iteration_tokens_total",
        "vllm:time_to_first_token_seconds",
        "vllm:inter_token_latency_seconds",
        "vllm:request_time_per_output_token_seconds",
        "vllm:e2e_request_latency_seconds",
        "vllm:request_queue_time_seconds",
        "vllm:request_decode_time_seconds",
    ],
)
def test_histograms_have_vllms_buckets(family: str) -> None:
    """The same upper bounds, written the same way."""
    assert bounds(simulated(), family) == bounds(PAGES[-1].read_text(), family)


def test_families_come_in_vllms_order() -> None:
    """As on a page of a single process."""
    real = list(heads(next(p for p in PAGES if "draft" in p.stem).read_text(), "TYPE"))
    ours = list(heads(simulated(), "TYPE"))
    assert ours == [name for name in real if name in ours]


def test_positions_exist_from_the_start_and_number_k_max() -> None:
    """0-based children, before the first request."""
    page = simulated("idle", 0, k=7)
    found = re.findall(r'accepted_tokens_per_pos_total{.*position="(\d+)"} (\S+)', page)
    assert found == [(str(position), "0.0") for position in range(7)]


def test_a_server_without_speculation_has_no_speculation_series() -> None:
    """Neither samples nor HELP lines."""
    assert "spec_decode" not in simulated("no-speculation")
    assert "spec_decode" in simulated("idle")


def test_several_engines_share_a_page() -> None:
    """Each family lists every engine once."""
    page = simulated("two-engines")
    assert re.findall(r'^vllm:num_requests_running{engine="(\d)"', page, flags=re.MULTILINE) == ["0", "1"]
    assert page.count("# TYPE vllm:num_requests_running ") == 1


def test_the_page_is_parsed_whole_and_adds_up() -> None:
    """prometheus_client reads it; positions add up to the accepted tokens, buckets to the count."""
    samples = values(simulated())
    name = (("engine", "0"), ("model_name", "simulated-8b"))
    by_position = sum(v for (n, _), v in samples.items() if n == "vllm:spec_decode_num_accepted_tokens_per_pos_total")
    assert by_position == samples["vllm:spec_decode_num_accepted_tokens_total", name] > 0
    last = ("vllm:inter_token_latency_seconds_bucket", tuple(sorted((*name, ("le", "+Inf")))))
    assert samples[last] == samples["vllm:inter_token_latency_seconds_count", name] > 0


def test_equal_pasts_give_equal_pages() -> None:
    """To the byte, whatever the steps on the way."""
    leap, walk = SimulatedServer("mixed-workloads", seed=3), SimulatedServer("mixed-workloads", seed=3)
    leap.advance_to(30)
    for second in range(31):
        walk.advance_to(second)
    assert leap.page() == walk.page()
    assert leap.page() != simulated("mixed-workloads", 30)


def test_a_restart_starts_counters_and_created_times_anew() -> None:
    """Counters fall, and the process start moves."""
    server = SimulatedServer("restarts")
    server.advance_to(99)
    before = values(server.page())
    server.advance_to(110)
    after = values(server.page())
    key = ("vllm:generation_tokens_total", (("engine", "0"), ("model_name", "simulated-8b")))
    start = ("process_start_time_seconds", ())
    assert 0 < after[key] < before[key]
    assert after[start] == pytest.approx(before[start] + 105, abs=0.2)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_numbers_are_written_as_prometheus_client_writes_them(scenario: str) -> None:
    """And read back as they were."""
    for line in simulated(scenario, 5).splitlines():
        if not line.startswith("#"):
            written = line.rsplit(" ", 1)[1]
            assert go_float(float(written)) == written

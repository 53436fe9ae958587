"""A simulated server under live control: the real plugin answers, and simulated steps obey."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from controller.observe.plugin import read_speculation
from controller.simulator.inprocess import InProcessAdapter
from controller.simulator.scenario import Event, Phase, Scenario
from controller.simulator.scenarios import SCENARIOS
from controller.simulator.server import SimulatedServer
from controller.simulator.workload import Lengths, Workload

TOKEN = "a-token-of-the-operators"
PATH = "/adaptive-k/v1/speculation"
CHAT = (("chat", 1.0),)
STEADY = replace(SCENARIOS["steady-chat"], phases=(Phase(0, CHAT, concurrency=8),))
PAUSES = replace(
    STEADY, phases=(Phase(0, CHAT, concurrency=8), Phase(30, CHAT, concurrency=0), Phase(200, CHAT, concurrency=8))
)

Serve = Callable[..., "Served"]


class Served:
    """A simulated server, asked in the same process."""

    def __init__(self, server: SimulatedServer) -> None:
        self.server, self.engine = server, server.engines[0]
        self._session = requests.Session()
        self._session.mount("http://simulated", InProcessAdapter(server.application))

    def ask(self, verb: str = "GET", path: str = PATH, token: str | None = TOKEN, **body: Any) -> requests.Response:
        """One request, in its JSON what is given by name."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self._session.request(verb, f"http://simulated{path}", headers=headers, json=body or None)

    def told(self, token: str | None = TOKEN) -> Any:
        """The document of GET."""
        answer = self.ask(token=token)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def put(self, k: int, *, token: str | None = TOKEN, **changes: Any) -> requests.Response:
        """Ask for one k at every batch size, on the state that GET tells."""
        seen = self.told()
        expected = {"boot_id": seen["boot_id"], "generation": seen["generation"]}
        fields: dict[str, Any] = {"schedule": [[1, 256, k]], "ttl_seconds": 60, "owner": "a", "expected": expected}
        return self.ask("PUT", token=token, **(fields | changes))

    def steps_at(self, k: int) -> int:
        """Engine steps so far at this k."""
        return sum(tally.steps for (_, at), tally in self.engine.counters.by_batch_and_k.items() if at == k)


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Starts a simulated server that has a token."""
    path = tmp_path / "tokens"
    path.write_text(f"{TOKEN}\n", "utf-8")

    def start(scenario: Scenario | str = STEADY, **options: Any) -> Served:
        return Served(SimulatedServer(scenario, **({"token_file": path} | options)))

    return start


def metric(page: str, name: str) -> float:
    """The sum of one counter's samples on a page."""
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(f"vllm:{name}{{"))


def test_it_answers_as_the_plugin_in_a_vllm_server_does(serve: Serve) -> None:
    """The same document: it is the same code."""
    told = serve("draft-model").told(token=None)
    assert re.fullmatch("[0-9a-f]{32}", told.pop("boot_id"))
    assert told == {
        "protocol": 1,
        "generation": 0,
        "owner": None,
        "method": "draft_model",
        "k_max": 8,
        "max_num_seqs": 128,
        "launch_schedule": [[1, 128, 8]],
        "schedule": [[1, 128, 8]],
        "expires_in_seconds": None,
        "k_with_graph": None,
        "writable": True,
        "read_only_because": None,
    }


def test_a_put_changes_k_from_the_next_step_on(serve: Serve) -> None:
    """The step under way keeps the k that it was planned with."""
    served = serve()
    served.server.advance_to(20)
    before = served.steps_at(5)
    assert served.put(2).json()["schedule"] == [[1, 256, 2]]
    served.server.advance_to(40)
    assert served.engine.schedule == ((1, 256, 2),)
    assert served.steps_at(5) - before == 1
    assert served.steps_at(2) > 500


def test_a_schedule_is_obeyed_by_batch_size(serve: Serve) -> None:
    """Ranges mean what they mean to vLLM: gaps and the tail carry the k before them."""
    served = serve("bursts")
    assert served.put(0, schedule=[[1, 2, 4], [4, 8, 1]], ttl_seconds=3600).status_code == 200
    served.server.advance_to(120)
    seen = served.engine.counters.settled
    assert {k for batch, k in seen if batch <= 3} == {4}
    assert {k for batch, k in seen if batch >= 4} == {1}


def test_delete_returns_to_the_launch_schedule_at_once(serve: Serve) -> None:
    """Whichever that is."""
    launch = ((1, 4, 4), (5, 256, 3))
    served = serve(schedule=launch)
    served.put(0)
    served.server.advance_to(10)
    assert served.ask("DELETE").json()["schedule"] == [list(each) for each in launch]
    before = served.steps_at(0)
    served.server.advance_to(20)
    assert served.engine.schedule == launch
    assert served.steps_at(0) - before <= 1
    assert served.steps_at(3) > 100


def test_the_time_to_live_runs_in_simulated_time(serve: Serve) -> None:
    """To the step: the first one that is planned after the end is at the launched k, though nobody asked."""
    served = serve()
    served.server.advance_to(20)
    assert served.put(1, ttl_seconds=30).json()["expires_in_seconds"] == 30
    served.server.advance_to(49.5)
    assert served.told()["expires_in_seconds"] == pytest.approx(0.5)
    served.server.advance_to(50.2)
    at_end = served.steps_at(1)
    assert served.engine.schedule == served.engine.launch_schedule
    served.server.advance_to(60)
    assert served.steps_at(1) == at_end
    assert served.steps_at(5) > 500


def test_after_idle_not_one_step_runs_on_a_schedule_that_is_over(serve: Serve) -> None:
    """The engine had no step in which to notice the end."""
    served = serve(PAUSES)
    served.server.advance_to(20)
    served.put(1, ttl_seconds=60)
    served.server.advance_to(190)
    idle_since = served.engine.counters.steps
    at_one = served.steps_at(1)
    assert served.engine.schedule == ((1, 256, 1),)
    served.server.advance_to(230)
    assert served.engine.counters.steps > idle_since
    assert served.steps_at(1) == at_one
    assert served.engine.schedule == served.engine.launch_schedule


def test_on_an_idle_engine_get_tells_the_end(serve: Serve) -> None:
    """No step is needed for time to pass."""
    served = serve("idle")
    served.put(1, ttl_seconds=60)
    served.server.advance_to(61)
    told = served.told()
    assert (told["owner"], told["generation"], told["schedule"]) == (None, 2, told["launch_schedule"])


def test_a_renewal_is_no_change_and_holds_on(serve: Serve) -> None:
    """As long as it comes in time."""
    served = serve()
    for second in range(20, 220, 20):
        assert served.put(1, ttl_seconds=30).json()["generation"] == 1
        served.server.advance_to(second)
    assert served.steps_at(5) == 0


def test_a_restart_is_another_boot_at_the_launch_schedule(serve: Serve) -> None:
    """Down it answers 503; afterwards what was expected of the old engine is refused."""
    served = serve(replace(STEADY, events=(Event(50, "restart", down_seconds=10),)))
    served.server.advance_to(49)
    before = served.put(1, ttl_seconds=3600).json()
    served.server.advance_to(55)
    assert served.ask().status_code == 503
    served.server.advance_to(70)
    after = served.told()
    assert after["boot_id"] != before["boot_id"]
    assert (after["generation"], after["owner"], after["schedule"]) == (0, None, after["launch_schedule"])
    assert served.steps_at(1) == 0 < served.steps_at(5)
    expected = {"boot_id": before["boot_id"], "generation": before["generation"]}
    refused = served.put(1, expected=expected)
    assert refused.status_code == 409
    assert "restarted" in refused.json()["error"]
    assert served.put(1).status_code == 200


def test_refusals_come_through_with_their_reasons(serve: Serve) -> None:
    """The status, the headers and the words of the plugin; and k stays."""
    served = serve()
    for token in (None, "wrong"):
        unknown = served.put(1, token=token)
        assert (unknown.status_code, unknown.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert served.ask("DELETE", token=token).status_code == 401
    stale = served.put(1, expected={"boot_id": served.told()["boot_id"], "generation": 7})
    assert (stale.status_code, stale.json()["current"]["generation"]) == (409, 0)
    beyond = served.put(9)
    assert beyond.status_code == 422
    assert beyond.json()["error"] == "k 9 is above 5, the num_speculative_tokens of the launch"
    assert served.put(1, ttl_seconds=3).status_code == 422
    assert served.put(1, owner="a" * 70_000).status_code == 413
    other = served.ask("POST")
    assert (other.status_code, other.headers["Allow"]) == (405, "GET, PUT, DELETE")
    assert served.engine.schedule == served.engine.launch_schedule
    served.put(1)
    taken = served.put(2, owner="b")
    assert taken.status_code == 409
    assert taken.json()["error"].startswith("a holds a schedule for 60 more seconds")


def test_without_a_token_file_nobody_writes_whatever_the_environment_names(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is a vLLM server's; two simulated servers in one process have files of their own."""
    monkeypatch.setenv("AK_VLLM_TOKEN_FILE", str(tmp_path / "tokens"))
    served = serve(token_file=None)
    assert served.told()["writable"] is False
    assert served.put(1).status_code == 403
    assert "measured" not in served.told()


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        (SCENARIOS["no-speculation"], "launched without speculation"),
        (replace(STEADY, method="ngram_gpu"), "ngram_gpu is not known to survive"),
        (replace(STEADY, method="suffix"), "suffix can only be cut without asynchronous scheduling"),
    ],
    ids=lambda value: value.method if isinstance(value, Scenario) else "",
)
def test_a_server_whose_k_the_plugin_cannot_change_says_why(serve: Serve, scenario: Scenario, reason: str) -> None:
    """In GET and to who tries."""
    served = serve(scenario)
    served.server.advance_to(5)
    told = served.told()
    assert told["writable"] is False
    assert reason in told["read_only_because"]
    refused = served.put(1)
    assert (refused.status_code, refused.json()["error"]) == (409, told["read_only_because"])


def test_with_several_engines_the_plugin_is_off(serve: Serve) -> None:
    """As under data parallelism."""
    served = serve("two-engines")
    for verb in ("GET", "DELETE"):
        answer = served.ask(verb)
        assert answer.status_code == 503
        assert "data parallelism" in answer.json()["error"]


def test_of_writers_at_the_same_time_one_wins(serve: Serve) -> None:
    """Over a port, from several threads, while simulated time runs."""
    served = serve(speed=20)
    with served.server as server, ThreadPoolExecutor(8) as pool:
        url, headers = server.url + PATH, {"Authorization": f"Bearer {TOKEN}", "Connection": "close"}
        seen = requests.get(url, headers=headers, timeout=20).json()
        expected = {"boot_id": seen["boot_id"], "generation": 0}

        def write(k: int) -> int:
            body = {"schedule": [[1, 256, k]], "ttl_seconds": 3600, "owner": f"writer-{k}", "expected": expected}
            return requests.put(url, headers=headers, json=body, timeout=20).status_code

        assert sorted(pool.map(write, [0, 1, 2, 3] * 2)) == [200] + [409] * 7
        assert requests.get(url, headers=headers, timeout=20).json()["generation"] == 1


# What is measured.


@pytest.mark.parametrize("name", ["mixed-workloads", "ngram", "bursts", "long-context", "moe-negative"])
def test_what_is_measured_adds_up_to_the_page_exactly(serve: Serve, name: str) -> None:
    """Drafts by position over workloads, and tokens over steps; also across a change of k."""
    served = serve(name)
    for second, k in ((40, 1), (60, 3), (70, 0), (80, 2)):
        served.server.advance_to(second)
        assert served.put(k).status_code == 200
    served.server.advance_to(120)
    counts, page = served.told()["measured"], served.server.page()
    by = {part: [each[part] for each in counts["workloads"]] for part in ("drafts", "drafted", "judged", "accepted")}
    assert sum(by["drafts"]) == metric(page, "spec_decode_num_drafts_total") > 0
    assert sum(map(sum, by["drafted"])) == metric(page, "spec_decode_num_draft_tokens_total")
    accepted = [sum(position) for position in zip(*by["accepted"], strict=True)]
    for position, count in enumerate(accepted):
        found = re.findall(rf'accepted_tokens_per_pos_total{{.*position="{position}"}} (\S+)', page)
        assert [float(each) for each in found] == [count]
    steps = [*counts["steps"], counts["other_steps"]]
    assert sum(each["tokens"] for each in steps) == metric(page, "generation_tokens_total")
    assert sum(each["steps"] for each in steps) == served.engine.counters.steps
    assert sum(each["seconds"] for each in steps) == pytest.approx(served.engine.counters.busy_seconds)


def test_the_sidecar_reads_what_is_told(serve: Serve) -> None:
    """Its own reader finds the document whole, with and without what was measured."""
    served = serve("mixed-workloads")
    served.server.advance_to(30)
    served.put(2)
    found = read_speculation(served.ask().text, PATH)
    assert (found.owner, found.schedule, found.k_max) == ("a", ((1, 256, 2),), 5)
    assert found.measured is not None
    assert {each.name for each in found.measured.workloads} == {"code", "chat", "summary"}
    assert sum(each.tokens for each in found.measured.steps) > 0
    assert read_speculation(served.ask(token=None).text, PATH).measured is None


def test_what_is_measured_is_told_to_those_with_a_token_only(serve: Serve) -> None:
    """Everybody else gets the rest."""
    served = serve()
    served.server.advance_to(10)
    counts = served.told()["measured"]
    assert [each["name"] for each in counts["workloads"]] == ["chat"]
    for token in (None, "wrong"):
        assert "measured" not in served.told(token=token)


@pytest.mark.parametrize("name", ["steady-code", "ngram"])
def test_no_more_is_drafted_than_k(serve: Serve, name: str) -> None:
    """Also where matches are longer."""
    served = serve(name)
    served.put(2, ttl_seconds=3600)
    served.server.advance_to(30)
    for workload in served.told()["measured"]["workloads"]:
        assert workload["drafted"][1] > 0
        assert workload["drafted"][2:] == workload["judged"][2:] == workload["accepted"][2:] == [0, 0, 0]


def test_workloads_are_told_apart_as_they_are(serve: Serve) -> None:
    """Each with its own acceptance: what the page hides."""
    served = serve("mixed-workloads")
    served.server.advance_to(300)
    kept = {each["name"]: sum(each["accepted"]) / each["drafts"] for each in served.told()["measured"]["workloads"]}
    scenario = served.server.scenario
    for workload in scenario.workloads:
        alone = serve(replace(scenario, phases=(Phase(0, ((workload.name, 1.0),), concurrency=32),)))
        truth = alone.engine.phase_truth().acceptance(5)
        assert kept[workload.name] == pytest.approx(sum(truth.survival), rel=0.05)


def test_steps_that_nothing_else_lengthens_count_by_batch_and_k_and_those_beside_prompts_apart(serve: Serve) -> None:
    """The mean time of the first is that of the truth, that of the others longer; the step of a change is neither."""
    served = serve(replace(STEADY, noise=replace(STEADY.noise, step_sigma=0.0, drift_sigma=0.0)))
    served.server.advance_to(60)
    served.put(2, ttl_seconds=3600)
    served.server.advance_to(200)
    counts = served.told()["measured"]
    plain = [each for each in counts["steps"] if each["prompt_tokens"] == 0]
    beside = [each for each in counts["steps"] if each["prompt_tokens"] > 0]
    assert [(each["batch_min"], each["batch_max"], each["k"]) for each in plain] == [(8, 8, 2), (8, 8, 5)]
    at_two, truth = plain[0], served.engine.phase_truth()
    assert at_two["request_steps"] == 8 * at_two["steps"]
    assert at_two["seconds"] / at_two["steps"] == pytest.approx(truth.step_seconds(8, 2), rel=0.005)
    assert {each["batch_min"] for each in beside} <= set(range(1, 8))  # the others are at their prompts
    seven = next(each for each in beside if (each["batch_min"], each["k"]) == (7, 2))
    assert seven["seconds"] / seven["steps"] > 1.1 * truth.step_seconds(7, 2)
    prompts = sum(each["prompt_tokens"] for each in beside)
    assert 0.7 * metric(served.server.page(), "prompt_tokens_total") < prompts


@pytest.mark.parametrize("ks", [(2,), (2, 2), (2, 3), (2, 3, 2, 3)])
def test_the_step_in_which_k_changes_counts_apart(serve: Serve, ks: tuple[int, ...]) -> None:
    """Its drafts may have been proposed under the other k."""
    long = Workload.constant("chat", 0.5, Lengths(10, spread=0), Lengths(2048, spread=0))
    served = serve(replace(STEADY, workloads=(long,)))
    served.server.advance_to(1)
    before, changes = served.told()["measured"]["other_steps"]["steps"], 0
    for second, k in enumerate(ks):
        changes += served.engine.schedule != ((1, 256, k),)
        served.put(k, ttl_seconds=3600)
        served.server.advance_to(2 + second)
    assert served.told()["measured"]["other_steps"]["steps"] - before == changes


def test_a_label_that_no_client_could_set_and_a_65th_workload_count_as_other(serve: Serve) -> None:
    """The same bounds as in vLLM."""
    names = ("no label", *(f"w{number}" for number in range(66)))
    kinds = tuple(Workload.constant(name, 0.5, Lengths(10), Lengths(40)) for name in names)
    phase = Phase(0, tuple((name, 1.0) for name in names), concurrency=200)
    served = serve(replace(STEADY, workloads=kinds, phases=(phase,)))
    served.server.advance_to(30)
    told = [each["name"] for each in served.told()["measured"]["workloads"]]
    assert set(told) == {"other", *(f"w{number}" for number in range(64))}
    assert len(told) == 65


def test_without_speculation_steps_are_measured_all_the_same(serve: Serve) -> None:
    """At k 0, and no workload has drafts."""
    served = serve("no-speculation")
    served.server.advance_to(20)
    counts = served.told()["measured"]
    assert counts["workloads"] == []
    assert {each["k"] for each in counts["steps"]} == {0}


# Nobody who watches changes what happens.


def test_asking_does_not_change_the_past(serve: Serve) -> None:
    """The same page to the byte, whether or not the plugin was asked on the way, also across an end and a restart."""
    scenario = replace(STEADY, events=(Event(70, "restart", down_seconds=5),))
    asked, alone = serve(scenario, seed=3), serve(scenario, seed=3)
    for served in (asked, alone):
        served.server.advance_to(10)
        served.put(1, ttl_seconds=20)
    for tenth in range(100, 1200, 7):
        asked.server.advance_to(tenth / 10)
        asked.ask()
    for served in (asked, alone):
        served.server.advance_to(120)
    assert asked.server.page() == alone.server.page()
    assert asked.told()["measured"] == alone.told()["measured"]


def test_equal_commands_at_equal_times_give_equal_pasts(serve: Serve) -> None:
    """Only the name of the boot is another one."""
    pages = []
    for _ in range(2):
        served = serve("mixed-workloads", seed=5)
        for second, k in ((10, 1), (15, 4), (30, 0)):
            served.server.advance_to(second)
            served.put(k, ttl_seconds=12)
        served.server.advance_to(50)
        pages.append((served.server.page(), served.told() | {"boot_id": ""}))
    assert pages[0] == pages[1]
    unchanged = serve("mixed-workloads", seed=5)
    unchanged.server.advance_to(50)
    assert unchanged.server.page() != pages[0][0]

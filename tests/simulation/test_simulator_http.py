"""The simulated server over HTTP."""

import json
from typing import Any

import pytest
import requests

from controller.simulator.scenarios import SCENARIOS
from controller.simulator.server import BUDGET_SECONDS, SimulatedServer


class ManualWall:
    """Wall time that a test moves; each reading costs `cost` seconds."""

    def __init__(self, cost: float = 0.0) -> None:
        self.seconds, self.cost = 0.0, cost

    def __call__(self) -> float:
        """Read the clock."""
        self.seconds += self.cost
        return self.seconds


def get(server: SimulatedServer, path: str) -> requests.Response:
    """One request on a connection of its own."""
    return requests.get(server.url + path, timeout=10, headers={"Connection": "close"})


def document(server: SimulatedServer, path: str) -> Any:
    """The JSON that a path answers."""
    answer = get(server, path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    return answer.json()


def test_it_answers_what_a_vllm_server_answers() -> None:
    """Metrics, health, version, models; 404 and 405 elsewhere."""
    with SimulatedServer("steady-chat", speed=0) as server:
        page = get(server, "/metrics")
        assert page.headers["Content-Type"] == "text/plain; version=1.0.0; charset=utf-8"
        assert page.text == server.page() == get(server, "/metrics/").text
        assert (get(server, "/health").status_code, get(server, "/health").text) == (200, "")
        assert document(server, "/version") == {"version": "0.32.0"}
        assert [model["id"] for model in document(server, "/v1/models")["data"]] == ["simulated-8b"]
        assert get(server, "/server_info").json() == {"detail": "Not Found"}
        assert get(server, "/nowhere").status_code == 404
        assert requests.post(server.url + "/metrics", timeout=10).status_code == 405


def test_in_developer_mode_it_tells_its_configuration() -> None:
    """The fields that tell a reader what the server is, in vLLM's places."""
    schedule = ((1, 4, 4), (5, 8, 2))
    with SimulatedServer("capture-cliff", k=4, schedule=schedule, speed=0, developer_mode=True) as server:
        config = document(server, "/server_info?config_format=json")["vllm_config"]
        assert isinstance(document(server, "/server_info")["vllm_config"], str)
    speculative = config["speculative_config"]
    assert (speculative["method"], speculative["num_speculative_tokens"]) == ("eagle", 4)
    assert speculative["num_speculative_tokens_per_batch_size"] == [[1, 4, 4], [5, 8, 2]]
    assert config["scheduler_config"]["max_num_seqs"] == 256
    assert config["compilation_config"]["max_cudagraph_capture_size"] == 512
    assert config["parallel_config"]["data_parallel_size"] == 1


def test_without_speculation_its_configuration_is_null() -> None:
    """As vLLM writes it; and a constant k is no schedule."""
    with SimulatedServer("no-speculation", speed=0, developer_mode=True) as server:
        assert document(server, "/server_info?config_format=json")["vllm_config"]["speculative_config"] is None
    with SimulatedServer("steady-code", speed=0, developer_mode=True) as server:
        config = document(server, "/server_info?config_format=json")["vllm_config"]["speculative_config"]
        assert config["num_speculative_tokens_per_batch_size"] is None


def test_simulated_time_follows_the_wall_clock_times_the_speed() -> None:
    """Each request first catches up."""
    wall = ManualWall()
    with SimulatedServer("steady-chat", speed=20, wall_seconds=wall) as server:
        get(server, "/health")
        assert server.simulated_seconds == 0
        wall.seconds += 2.5
        get(server, "/metrics")
        assert server.simulated_seconds == pytest.approx(50)
        assert server.slipped_seconds == 0


def test_it_starts_from_where_it_was_advanced_to() -> None:
    """Warm up first, then listen."""
    wall = ManualWall()
    server = SimulatedServer("steady-chat", speed=1, wall_seconds=wall)
    server.advance_to(30)
    with server:
        wall.seconds += 5
        get(server, "/health")
        assert server.simulated_seconds == pytest.approx(35)


def test_a_server_that_cannot_keep_up_lets_time_slip_rather_than_a_scrape_hang() -> None:
    """The budget of a request is bounded; what is missing is told."""
    wall = ManualWall(cost=0.1)
    with SimulatedServer("steady-chat", speed=100, wall_seconds=wall) as server:
        wall.seconds += 60
        before = wall.seconds
        described = document(server, "/simulator")
        assert wall.seconds - before < BUDGET_SECONDS + 1
        assert described["slipped_seconds"] > 5000
        assert 0 < described["simulated_seconds"] < 100


def test_it_tells_the_truth_to_whoever_asks() -> None:
    """The best k of the present mix and load, and why."""
    with SimulatedServer("code-to-prose", speed=0) as server:
        server.advance_to(50)
        code = document(server, "/simulator")["engines"][0]
        server.advance_to(170)
        full = document(server, "/simulator")["engines"][0]
    assert (code["running"], code["best_k"]) == (1, 5)
    assert (full["running"] + full["waiting"], full["best_k"]) == (128, 0)
    assert len(full["tokens_per_second"]) == 6


def test_it_does_not_answer_while_it_restarts() -> None:
    """503 for the seconds that it is down."""
    with SimulatedServer("restarts", speed=0) as server:
        server.advance_to(103)
        assert get(server, "/metrics").status_code == 503
        assert get(server, "/health").status_code == 503
        server.advance_to(107)
        assert get(server, "/metrics").status_code == 200


def test_a_schedule_put_in_force_reaches_every_engine() -> None:
    """And a bad one is refused before any engine has it."""
    server = SimulatedServer("two-engines")
    server.set_schedule(((1, 256, 2),))
    assert [engine.schedule for engine in server.engines] == [((1, 256, 2),)] * 2
    with pytest.raises(ValueError, match="starts at batch size 1"):
        server.set_schedule(((2, 4, 1),))
    assert [engine.schedule for engine in server.engines] == [((1, 256, 2),)] * 2


def test_closing_frees_the_port_and_may_be_repeated() -> None:
    """Nothing answers afterwards, and the same port can be taken again."""
    server = SimulatedServer("idle").start()
    url, port = server.url, int(server.url.rsplit(":", 1)[1])
    assert requests.get(url + "/health", timeout=10).status_code == 200
    server.close()
    server.close()
    with pytest.raises(requests.ConnectionError):
        requests.get(url + "/health", timeout=2)
    with pytest.raises(RuntimeError, match="not listening"):
        _ = server.url
    with SimulatedServer("idle", port=port) as again:
        assert get(again, "/health").status_code == 200


def test_it_listens_on_the_loopback_only_unless_told() -> None:
    """Nobody else sees a demo."""
    with SimulatedServer("idle") as server:
        assert server.url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"scenario": "nonsense"}, "there are: code-to-prose"),
        ({"scenario": "steady-code", "k": 0}, "at least 1"),
        ({"scenario": "no-speculation", "k": 3}, "takes no k"),
        ({"scenario": "steady-code", "speed": -1.0}, "0 or above"),
        ({"scenario": "steady-code", "schedule": ((3, 4, 1),)}, "batch size 1"),
    ],
)
def test_impossible_options_are_refused_in_words(options: dict[str, Any], reason: str) -> None:
    """With what is possible instead."""
    with pytest.raises(ValueError, match=reason):
        SimulatedServer(**options)


def test_its_description_is_plain_json_for_every_scenario() -> None:
    """No infinities and no numpy in it, also when idle."""
    for name in SCENARIOS:
        server = SimulatedServer(name)
        server.advance_to(2)
        json.dumps(server.describe(), allow_nan=False)

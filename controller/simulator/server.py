"""The simulated server over HTTP: a vLLM server for anything that asks for metrics and versions only."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeAlias
from urllib.parse import parse_qs

from controller.listener import Listener
from controller.simulator import vllm_documents
from controller.simulator.engine import StepEngine
from controller.simulator.page import CONTENT_TYPE, render_page
from controller.simulator.scenario import Scenario
from controller.simulator.scenarios import SCENARIOS
from controller.simulator.schedule import Schedule

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from controller.simulator.hosted_plugin import HostedPlugin

BUDGET_SECONDS: Final = 0.8
"""Wall time that one request may spend on catching up with the clock."""
_SLICE_SECONDS: Final = 0.5
_REQUEST_BYTES_MAX: Final = 1024 * 1024
"""A larger body is refused before it is read; the plugin itself refuses smaller ones."""

Answer: TypeAlias = tuple[str, str, str]
_NOT_FOUND: Final[Answer] = ("404 Not Found", "application/json", '{"detail":"Not Found"}')


class SimulatedServer:
    """A simulated vLLM server. `start()` puts it on a port; `advance_to` and `page` will do without one.

    Once started, simulated time runs at `speed` times the wall time since. No thread moves it: each HTTP
    request first catches up, for at most `BUDGET_SECONDS`; what is missing then is dropped, so that simulated
    time falls behind (`slipped_seconds`) rather than a scrape hanging. At speed 0 only `advance_to` moves it.

    Args:
        scenario: a scenario or the name of one in `SCENARIOS`.
        k: `num_speculative_tokens` as launched, in place of the scenario's: the page has k positions.
        schedule: launch schedule, batch size -> k; without one k holds at every batch size.
        seed: of all chance.
        speed: simulated seconds per wall second.
        host: address to listen on.
        port: port to listen on, 0 for any free one.
        token_file: tokens of the engine plugin, as AK_VLLM_TOKEN_FILE names them in vLLM; without one k can be read
            at /adaptive-k/v1/speculation, but not changed.
        developer_mode: answer `/server_info`, as vLLM does under VLLM_SERVER_DEV_MODE=1.
        wall_seconds: monotonic time source.

    Raises:
        ValueError: no such scenario, k below 1, a negative speed, a schedule that vLLM would refuse, or a token file
            where the plugin is not installed.
    """

    def __init__(
        self,
        scenario: Scenario | str,
        *,
        k: int | None = None,
        schedule: Schedule | None = None,
        seed: int = 0,
        speed: float = 1.0,
        host: str = "127.0.0.1",
        port: int = 0,
        token_file: Path | None = None,
        developer_mode: bool = False,
        wall_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.scenario = find_scenario(scenario)
        _check_options(self.scenario, k, speed)
        self.engines = tuple(
            StepEngine(self.scenario, k_max=k, schedule=schedule, seed=seed, engine_index=index)
            for index in range(self.scenario.engines)
        )
        self._plugin = _hosted_plugin(self.engines, token_file)
        self.speed, self.slipped_seconds = speed, 0.0
        self._host, self._port = host, port
        self._developer_mode = developer_mode
        self._wall_seconds = wall_seconds
        self._origin: tuple[float, float] | None = None
        self._lock = threading.RLock()
        self._listener: Listener | None = None
        self._routes: dict[str, Callable[[str], Answer]] = {
            "/metrics": lambda _: ("200 OK", CONTENT_TYPE, self.page()),
            "/health": lambda _: ("200 OK", "text/plain", ""),
            "/version": lambda _: _json(vllm_documents.version()),
            "/v1/models": lambda _: _json(vllm_documents.models(self.engines[0])),
            "/server_info": self._server_info,
        }

    # Simulated time.

    @property
    def simulated_seconds(self) -> float:
        """Simulated time so far."""
        return self.engines[0].simulated_seconds

    def advance_to(self, seconds: float) -> None:
        """Let simulated time pass until `seconds`, as fast as it goes."""
        with self._lock:
            for engine in self.engines:
                engine.advance_to(seconds)

    def catch_up(self) -> None:
        """Bring simulated time up to the clock, or give up the rest when the budget is spent."""
        with self._lock:
            if self._origin is None:
                return
            began = self._wall_seconds()
            target = self._origin[1] + (began - self._origin[0]) * self.speed
            while self.simulated_seconds < target:
                if self._wall_seconds() - began > BUDGET_SECONDS:
                    self.slipped_seconds += target - self.simulated_seconds
                    self._origin = (began, self.simulated_seconds)
                    return
                self.advance_to(min(target, self.simulated_seconds + _SLICE_SECONDS))

    def page(self) -> str:
        """The `/metrics` page at this moment."""
        with self._lock:
            return render_page(self.engines)

    def set_schedule(self, schedule: Sequence[tuple[int, int, int]]) -> None:
        """Put a schedule in force in every engine, from its next step on.

        Raises:
            ValueError: it is not one that vLLM would take.
        """
        with self._lock:
            for engine in self.engines:
                engine.set_schedule(schedule)

    # HTTP.

    def start(self) -> Self:
        """Listen, and let the clock run. Returns itself."""
        self._listener = Listener(self.application, self._host, self._port, max_request_body_size=_REQUEST_BYTES_MAX)
        self._origin = (self._wall_seconds(), self.simulated_seconds)
        self._listener.start()
        return self

    @property
    def url(self) -> str:
        """Base URL, known once started."""
        if self._listener is None:
            raise RuntimeError("the simulated server is not listening")
        return f"http://{self._listener.host}:{self._listener.port}"

    def close(self) -> None:
        """Stop listening and stop the clock. Closing twice does no harm."""
        listener, self._listener, self._origin = self._listener, None, None
        if listener is not None:
            listener.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def application(self, environment: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """The WSGI application."""
        path = environment["PATH_INFO"].rstrip("/") or "/"
        with self._lock:
            self.catch_up()
            if self._plugin is not None and path == self._plugin.path and self._is_up:
                status, headers, body = self._plugin.answer(environment)
            else:
                status, kind, text = self._answer(environment["REQUEST_METHOD"], path, environment["QUERY_STRING"])
                body = text.encode()
                headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [body]

    @property
    def _is_up(self) -> bool:
        return all(engine.is_up for engine in self.engines)

    def _answer(self, method: str, path: str, query: str) -> Answer:
        if path == "/simulator":
            return _json(self.describe())
        if not self._is_up:
            return "503 Service Unavailable", "text/plain", "the simulated server is restarting\n"
        if path not in self._routes:
            return _NOT_FOUND
        if method != "GET":
            return "405 Method Not Allowed", "application/json", '{"detail":"Method Not Allowed"}'
        return self._routes[path](query)

    def _server_info(self, query: str) -> Answer:
        if not self._developer_mode:
            return _NOT_FOUND
        document = vllm_documents.server_info(self.engines[0])
        if parse_qs(query).get("config_format") != ["json"]:
            document["vllm_config"] = str(document["vllm_config"])
        return _json(document)

    def describe(self) -> dict[str, object]:
        """What only a simulated server can say: where it stands, and the truth (`GET /simulator`)."""
        return {
            "scenario": self.scenario.name,
            "description": self.scenario.description,
            "speed": self.speed,
            "simulated_seconds": self.simulated_seconds,
            "slipped_seconds": self.slipped_seconds,
            "engines": [_describe_engine(engine) for engine in self.engines],
        }


def find_scenario(scenario: Scenario | str) -> Scenario:
    """The scenario of this name.

    Raises:
        ValueError: with the names there are.
    """
    if isinstance(scenario, Scenario):
        return scenario
    if scenario not in SCENARIOS:
        raise ValueError(f"no scenario {scenario!r}; there are: {', '.join(SCENARIOS)}")
    return SCENARIOS[scenario]


def _check_options(scenario: Scenario, k: int | None, speed: float) -> None:
    if k is not None and k < 1:
        raise ValueError(
            "k is num_speculative_tokens at launch, at least 1; for k=0 take the scenario no-speculation,"
            " or a schedule that holds 0"
        )
    if k is not None and not scenario.speculates:
        raise ValueError(f"scenario {scenario.name!r} is a server without a drafter: it takes no k")
    if not speed >= 0:
        raise ValueError(f"speed is simulated seconds per second, 0 or above: {speed}")


def _hosted_plugin(engines: Sequence[StepEngine], token_file: Path | None) -> "HostedPlugin | None":
    """The engine plugin; None where it is not installed, as on a vLLM server without it."""
    try:
        from controller.simulator.hosted_plugin import HostedPlugin  # noqa: PLC0415  # it is a wheel of its own
    except ModuleNotFoundError as error:
        if error.name != "adaptive_k_vllm":
            raise
        if token_file is None:
            return None
        raise ValueError(
            "k cannot be changed live, for the engine plugin is not installed here: install adaptive-k-vllm as well,"
            " or leave the token file out"
        ) from error
    return HostedPlugin(engines, token_file)


def _describe_engine(engine: StepEngine) -> dict[str, object]:
    truth, batch = engine.truth(), max(engine.running, 1)
    return {
        "engine": engine.index,
        "starts": engine.starts,
        "running": engine.running,
        "waiting": engine.waiting,
        "k_max": engine.k_max,
        "schedule": engine.schedule,
        "best_k": truth.best_k(batch, engine.k_max),
        "acceptance": asdict(truth.acceptance(engine.k_max)),
        "tokens_per_second": [truth.tokens_per_second(batch, k) for k in range(engine.k_max + 1)],
    }


def _json(document: dict[str, object]) -> Answer:
    return "200 OK", "application/json", json.dumps(document)

"""`controller demo` and `controller simulate`: the embedded simulated server."""

import signal
import threading

from controller.act.actuator import RecommendOnly
from controller.clock import SystemClock
from controller.commands.exit_codes import FAILED, OK
from controller.commands.say import say
from controller.decide.policy_settings import PolicySettings
from controller.loop import Controller
from controller.model.drafter import Method
from controller.observe.errors import cause
from controller.observe.http import Fetcher
from controller.observe.scrape import HttpSource
from controller.options.base import SettingsError
from controller.options.verbs import DemoOptions, SimulateOptions
from controller.report.table import line, table
from controller.simulator.scenarios import SCENARIOS
from controller.simulator.server import SimulatedServer


def demo(options: DemoOptions) -> int:
    """A simulated server whose traffic changes, and the recommendation that follows it, window by window."""
    _refuse_unknown(options.scenario)
    clock = SystemClock()
    scenario = SCENARIOS[options.scenario]
    with SimulatedServer(scenario, seed=options.seed, speed=options.speed) as server:
        say(f"simulated vLLM server at {server.url}: {scenario.description}")
        say(f"{options.window_seconds:g} simulated seconds a line, {options.speed:g} times faster than real time\n")
        source = HttpSource(server.url, clock, Fetcher())
        method = Method(scenario.method) if scenario.speculates else None
        loop = Controller(source, clock, RecommendOnly(), PolicySettings(), method=method)
        began = clock.monotonic_seconds()
        cycle = loop.step()
        for number in range(1, options.passes + 1):
            due = began + number * options.window_seconds / options.speed
            clock.wait(due - clock.monotonic_seconds(), threading.Event())
            cycle = loop.step()
            for text in [failure.message for failure in cycle.failures] or map(line, cycle.engines):
                print(f"{number * options.window_seconds:5.0f} s   {text}", flush=True)
    print(f"\nThe last window as `controller recommend` shows it:\n\n{table(cycle)}")
    print(
        "\nTo look at it in a browser: `controller simulate`, beside it `controller run`, then http://127.0.0.1:9460/"
    )
    return FAILED if cycle.failures else OK


def simulate(options: SimulateOptions) -> int:
    """Serve a simulated server until SIGTERM or SIGINT."""
    if options.scenario == "list":
        width = max(map(len, SCENARIOS))
        for name, scenario in SCENARIOS.items():
            print(f"{name:{width}}  {scenario.description}")
        return OK
    _refuse_unknown(options.scenario)
    host, _, port = options.listen.rpartition(":")
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    try:
        server = SimulatedServer(
            options.scenario,
            k=options.k,
            token_file=options.plugin_token_file,
            developer_mode=options.developer_mode,
            seed=options.seed,
            speed=options.speed,
            host=host.strip("[]"),
            port=int(port),
        ).start()
    except ValueError as error:
        raise SettingsError(str(error)) from error
    except OSError as error:
        say(f"controller simulate: cannot listen on {options.listen} ({cause(error)}): choose another with --listen.")
        return FAILED
    say(f"simulated vLLM server at {server.url}, scenario {options.scenario}; end it with Ctrl-C")
    stop.wait()
    server.close()
    return OK


def _refuse_unknown(scenario: str) -> None:
    if scenario not in SCENARIOS:
        raise SettingsError(f"--scenario {scenario!r} is not one of: {', '.join(SCENARIOS)}")

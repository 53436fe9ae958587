"""Adaptive k against every fixed k on a real vLLM server.

    python benchmarks/real_vllm.py [--quick] [--json]
    python benchmarks/real_vllm.py --url URL --plugin-token-file FILE [--clients 1 16 64] [--json]

Without --url it starts vLLM's CPU build with a tiny model, whose acceptance it sets itself (the environment is that of
`make real`, built on first use). Progress goes to stderr.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # before this folder, which has a `real_vllm` too

from real_vllm.environment import cannot_run, trained_pair, vllm_python
from real_vllm.sidecar import running_sidecar
from real_vllm.synthetic import synthetic_server
from real_vllm_load import Load
from real_vllm_report import document, table
from real_vllm_score import score
from real_vllm_server import Server
from real_vllm_trace import Plan, live_through, phases

CLIENTS: Final = (1, 4, 8)
TOKENS: Final = 128
"""Mean of a reply: short, so that the requests of a phase that is over are soon answered."""
COOLDOWN_INTERVALS: Final = 3
STRETCH: Final = 4
"""Phases that the controller lives through at most before the fixed ks have their turn."""


def main() -> int:
    """Run the trace and print what it was worth."""
    options = _options()
    began = time.monotonic()

    def say(message: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:4.0f} s  {message}\n")
        sys.stderr.flush()

    with tempfile.TemporaryDirectory(prefix="real-vllm-") as folder, _server(options, Path(folder)) as server:
        most, api_key = max(options.clients), server.api_key
        with Load(server.url, most=most, tokens=options.tokens, api_key=api_key) as load:
            controller = partial(_controller, options, server, options.keep or Path(folder))
            trace = live_through(_plan(options, server), server, load, controller, say)
    found = score(trace)
    print(document(found, load) if options.json else table(found, load))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="only the extremes of traffic, twice: some five minutes")
    add("--json", action="store_true", help="machine-readable")
    add("--url", help="a running server with the engine plugin; its k is changed, and returned at the end")
    add("--plugin-token-file", type=Path, metavar="FILE", help="the plugin's tokens; needed with --url")
    add("--api-key-file", type=Path, metavar="FILE", help="the key of the server's --api-key, if it has one")
    add("--acceptance-file", type=Path, metavar="FILE", help="what the server's synthetic plugin reads, if it has it")
    add("--clients", type=int, nargs="+", default=CLIENTS, metavar="N", help="requests in flight (default 1 4 8)")
    add("--tokens", type=int, default=TOKENS, metavar="N", help=f"mean length of a reply (default {TOKENS})")
    add("--repeats", type=int, metavar="N", help="visits of every phase, an even number (default 4; 2 if quick)")
    add("--settle-seconds", type=float, default=20.0, metavar="S", help="for the controller in a phase (default 20)")
    add("--measure-seconds", type=float, default=3.0, metavar="S", help="of each contestant in a visit (default 3)")
    add("--interval-seconds", type=float, default=1.0, metavar="S", help="of the controller (default 1)")
    add("--keep", type=Path, metavar="FOLDER", help="a new folder for the controller's logs and its checkpoint")
    options = parser.parse_args()
    if options.url and options.plugin_token_file is None:
        parser.error("--url needs --plugin-token-file: without a token k cannot be changed")
    if options.keep is not None and options.keep.exists():
        parser.error(f"--keep: {options.keep} exists; the controller must not start with what an earlier run learnt")
    if min(options.clients) < 1:
        parser.error("--clients must be at least 1")
    if options.quick:
        options.clients = sorted({min(options.clients), max(options.clients)})
    options.repeats = options.repeats or (2 if options.quick else 4)
    if options.repeats < 2 or options.repeats % 2:
        parser.error("--repeats must be even: the best k is chosen on one half of the repeats and scored on the other")
    return options


def _plan(options: argparse.Namespace, server: Server) -> Plan:
    found = phases(options.clients, acceptance_can_be_set=server.acceptance_file is not None, extremes=options.quick)
    return Plan(
        phases=found,
        repeats=options.repeats,
        settle_seconds=options.settle_seconds,
        measure_seconds=options.measure_seconds,
        stretch=math.ceil(len(found) / math.ceil(len(found) / STRETCH)),
    )


@contextmanager
def _controller(options: argparse.Namespace, server: Server, folder: Path) -> Iterator[None]:
    """The sidecar; its times are as short as those of the traffic, so that a day of both passes in minutes."""
    folder.mkdir(parents=True, exist_ok=True)
    interval = options.interval_seconds
    cooldown = ("--cooldown-seconds", str(COOLDOWN_INTERVALS * interval))
    with running_sidecar(server.url, server.token_file, folder, *cooldown, interval_seconds=interval) as sidecar:
        yield
        if sidecar.process.poll() is not None:
            raise SystemExit(f"the sidecar ended on its own; its log: {sidecar.events()[-5:]}")


@contextmanager
def _server(options: argparse.Namespace, folder: Path) -> Iterator[Server]:
    """The server that was named, or one of our own."""
    if options.url:
        api_key = options.api_key_file.read_text("utf-8").strip() if options.api_key_file else None
        yield Server(options.url.rstrip("/"), options.plugin_token_file, api_key, options.acceptance_file)
        return
    if (reason := cannot_run()) is not None:
        raise SystemExit(f"vLLM's CPU build cannot run here: {reason}. Name a running server with --url.")
    python = vllm_python()
    with synthetic_server(python, trained_pair(python), folder) as synthetic:
        yield Server(synthetic.live.url, synthetic.live.token_file, None, synthetic.acceptance_file)


if __name__ == "__main__":
    raise SystemExit(main())

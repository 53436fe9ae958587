"""The command `controller`: one verb after another, imported only when asked for."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final

from controller import __version__
from controller.commands.exit_codes import OK, USAGE
from controller.commands.say import say
from controller.flags import parse
from controller.options.base import SettingsError
from controller.settings import load

INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141
_HOMES: Final = {
    "recommend": "recommend",
    "run": "run",
    "backtest": "backtest",
    "reset": "reset",
    "doctor": "doctor",
    "calibrate": "calibrate",
    "launch-config": "launch_config",
    "simulate": "demo",
    "demo": "demo",
    "whatif": "whatif",
}
"""Where each verb lives below `controller.commands`: the simulator, for one, never enters a sidecar's memory."""


def main(arguments: Sequence[str] | None = None, ready: Callable[[], None] = lambda: None) -> int:
    """Run one verb; `ready` is called when all is imported. The exit codes are in `controller.commands.exit_codes`."""
    verb, given = parse(sys.argv[1:] if arguments is None else arguments, __version__)
    try:
        command, options = _command(verb), load(verb, given)
        ready()
        code = command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` say, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except SettingsError as error:
        say(f"controller {verb}: {error}\n`controller {verb} --help` lists the options.")
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _command(verb: str) -> Callable[[Any], int]:
    if verb == "schema":
        return _schema
    command: Callable[[Any], int] = getattr(
        import_module(f"controller.commands.{_HOMES[verb]}"), verb.replace("-", "_")
    )
    return command


def _schema(options: Any) -> int:
    """Print the JSON Schema of a document."""
    home = "backtest" if options.of == "backtest" else "report"
    print(json.dumps(import_module(f"controller.{home}.document").schema(), indent=2))
    return OK

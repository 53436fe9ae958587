"""The YAML of `--config`: text -> `load`."""

import tempfile
from pathlib import Path
from typing import Final

from controller.options.base import SettingsError
from controller.settings import load

MESSAGE_CHARACTERS_MAX: Final = 4000
_FOLDER: Final = tempfile.TemporaryDirectory(prefix="fuzz-settings-")
_FILE: Final = Path(_FOLDER.name) / "config.yaml"
VERBS: Final = ("run", "recommend", "reset", "doctor")


def check(data: bytes) -> None:
    """It is the options of a verb, or a `SettingsError` in words. The first byte chooses the verb."""
    _FILE.write_bytes(data[1:])
    verb = VERBS[data[0] % len(VERBS)] if data else VERBS[0]
    try:
        options = load(verb, {"config": _FILE}, {})
    except SettingsError as error:
        assert 0 < len(str(error)) <= MESSAGE_CHARACTERS_MAX
        return
    assert options.model_dump()


def seeds() -> list[bytes]:
    """As people write them."""
    return [
        b"\0url: http://127.0.0.1:8000\ninterval-seconds: 5\nmode: apply\nplugin-token-file: /t\nk: 3\n",
        b"\0listen: '[::1]:9460'\nobjective: tpot\ntpot-target-ms: 12.5\nfreeze: true\nowner: me@cluster\n",
        b"\1source: [a.txt, b.txt]\nseconds: 30\noutput: json\nminimum-gain: 0.05\n",
        b"\2plugin_token_file: /t\nurl: https://vllm:8443\n",
        b"\0a: &a [x, x]\nb: &b [*a, *a]\n",
        b"\0url: [\n",
    ]

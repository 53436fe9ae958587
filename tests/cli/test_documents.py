"""Every command in the documents is one: it runs, and `make`'s targets and the benchmarks' options exist."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest
from calling import Command
from pages import NGRAM_WINDOW
from simulated import TOKEN

from controller import __version__
from controller.commands.exit_codes import NO_EVIDENCE, OK
from controller.flags import parse
from controller.settings import VERBS, load
from controller.simulator.scenarios import SCENARIOS
from controller.simulator.server import SimulatedServer

ROOT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = (
    *ROOT.glob("*.md"),
    *ROOT.glob("deploy/**/*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("helm/**/*.md"),
    *ROOT.glob("tools/*/*.md"),
)
ENDS_BY_ITSELF: Final = {"recommend", "doctor", "launch-config", "whatif", "reset", "schema"}
"""These are run; of the others the options are read as the command reads them."""
ADDRESS: Final = re.compile(r"https?://[\w.:]+")


@dataclass(frozen=True)
class Written:
    """A command as a document has it: whole in a block; in the text, what matters there."""

    document: str
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.document}: {' '.join(self.words)}"


def written(program: str) -> Iterator[Written]:
    """Its commands in all documents: lines of blocks, and `...` in the text."""
    for path in DOCUMENTS:
        text = path.read_text("utf-8").replace("\\\n", " ")
        blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        lines = [(line, True) for block in blocks for line in block.splitlines()]
        prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        spans = [(span, False) for span in re.findall(r"`([^`]+)`", prose)]
        for line, whole in (*lines, *spans):
            found = re.search(rf"(?:^|^\$ |-- |&& )({program} [^#|>&]*)", " ".join(line.split()))
            if found:
                yield Written(str(path.relative_to(ROOT)), tuple(shlex.split(found[1])), whole)


CONTROLLER: Final = tuple({each.words: each for each in written("controller") if len(each.words) > 2}.values())


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the plugin."""
    tokens = tmp_path_factory.mktemp("served") / "tokens"
    tokens.write_text(f"{TOKEN}\n", "utf-8")
    with SimulatedServer("steady-code", speed=50, token_file=tokens) as server:
        yield server.url


@pytest.fixture
def _bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the files that the documents name."""
    for name, page in zip(("before.txt", "after.txt"), NGRAM_WINDOW, strict=True):
        (tmp_path / name).write_bytes(page.read_bytes())
    for name in ("TOKEN", "FILE"):
        (tmp_path / name).write_text(f"{TOKEN}\n", "utf-8")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_bench")
@pytest.mark.parametrize("each", CONTROLLER, ids=str)
def test_a_command_of_the_documents_is_one(each: Written, url: str, command: Command) -> None:
    """It runs as written, but for the server's address and a shorter window; what never ends is only read."""
    verb, *options = each.words[1:]
    pairs = zip(["", *options], options, strict=False)
    options = [url if "url" in before and word == "..." else word.replace("...", "FILE") for before, word in pairs]
    given = parse([verb, *options], __version__)
    if each.whole:
        load(*given, {})
    if verb not in ENDS_BY_ITSELF or "--prometheus-url" in options:
        return
    options = [ADDRESS.sub(url, word) for word in options]
    if verb == "recommend" and "--url" in options:
        options += ["--window-seconds", "0.3"]
    said = command(verb, *options)
    assert said.code in (OK, NO_EVIDENCE), said.err
    assert said.out or verb == "reset"


def test_the_plugins_document_shows_what_curl_does(tmp_path: Path) -> None:
    """GET answers with the fields shown; PUT, with the `boot_id` that GET told, and DELETE do what it says."""
    use = (ROOT / "docs" / "engine-plugin.md").read_text("utf-8").split("\n## Use\n")[1].split("\n## ")[0]
    shown = json.loads(re.findall(r"```json\n(.*?)```", use, re.DOTALL)[0])
    (ask, put, delete) = re.findall(r"```sh\n(.*?)```", use, re.DOTALL)
    launch = tuple(tuple(each) for each in shown["launch_schedule"])
    small = {"k_max": shown["k_max"], "max_num_seqs": shown["max_num_seqs"], "schedule": launch}
    (tmp_path / "token-file").write_text(f"{TOKEN}\n", "utf-8")
    with SimulatedServer(replace(SCENARIOS["idle"], **small), token_file=tmp_path / "token-file") as server:

        def say(command: str) -> Any:
            script = ADDRESS.sub(server.url, "\n".join(ask.splitlines()[:2])) + "\n" + command
            done = subprocess.run(["bash", "-ec", script], cwd=tmp_path, check=True, capture_output=True, text=True)
            return json.loads(done.stdout)

        told = say(ask.splitlines()[-1])
        assert shown.keys() - told.keys() == set()
        assert (told["k_max"], told["schedule"]) == (shown["k_max"], shown["schedule"])
        changed = say(put.replace(shown["boot_id"], told["boot_id"]))
        assert (changed["owner"], changed["schedule"]) == ("me", [[1, 4, 3], [5, 8, 0]])
        assert say(delete)["schedule"] == shown["launch_schedule"]


def test_every_verb_that_the_documents_name_exists() -> None:
    """Also where it stands alone."""
    named = {each.words[1] for each in written("controller")} - {"--version"}
    assert named <= set(VERBS)
    assert len(named) > 8


def test_every_target_of_make_that_the_documents_name_exists() -> None:
    """By the Makefile's own list."""
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {word for each in written("make") for word in each.words[1:2]}
    assert named - targets == set()
    assert {"demo", "test", "test-all", "docs"} <= named


@pytest.mark.parametrize(
    "name", sorted({word for each in written("python") for word in each.words[1:2] if word.endswith(".py")})
)
def test_a_script_of_the_documents_takes_the_options_they_name(name: str) -> None:
    """By its own --help, which has to work."""
    done = subprocess.run([sys.executable, name, "--help"], cwd=ROOT, check=True, capture_output=True, text=True)
    options = {word.strip("[]") for each in written("python") if name in each.words for word in each.words[2:]}
    for option in (option for option in options if option.startswith("--")):
        assert option in done.stdout

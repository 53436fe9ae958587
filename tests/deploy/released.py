"""What a released chart promised to those who installed it: the values that it took, and what cannot be changed later.

After a release: `PYTHONPATH=tests python -m deploy.released` writes the present chart's into `released/VERSION.json`.
"""

import json
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.manifests import Object
from deploy.tools import CHART, Tools, fetched

FOLDER: Final = Path(__file__).with_name("released")
IMMUTABLE: Final = {
    "Deployment": ("selector",),
    "RoleBinding": ("roleRef",),
}
"""By kind: what Kubernetes lets nobody change on an object that exists."""


def promises(manifests: list[Object]) -> dict[str, Any]:
    """Every object by kind and name, with what cannot be changed on it."""
    return {
        f"{each['kind']}/{each['metadata']['name']}": {
            name: each.get("spec", each).get(name) for name in IMMUTABLE.get(each["kind"], ())
        }
        for each in manifests
    }


def broken(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What of the promises an upgrade breaks: an object that cannot be changed in place, or is another one now."""
    return [name for name, fixed in before.items() if now.get(name) != fixed]


def record(tools: Tools) -> dict[str, Any]:
    """By the name of each values file of the present chart: its values, and what was made of them."""
    return {
        path.stem.removesuffix("-values"): {
            "values": yaml.safe_load(path.read_text("utf-8")),
            "objects": promises(tools.render(CHART, "--values", path)),
        }
        for path in sorted((CHART / "ci").glob("*.yaml"))
    }


if __name__ == "__main__":
    version = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["version"]
    path = FOLDER / f"{version}.json"
    path.write_text(json.dumps(record(fetched("4")), indent=1) + "\n", "utf-8")

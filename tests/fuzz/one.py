"""One target under libFuzzer, in a process of its own: `one.py TARGET [libFuzzer's flags] [corpus ...]`."""

import os
import sys
from pathlib import Path

import atheris

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # the matrices are small: threads would only wait for each other
sys.path.insert(0, str(Path(__file__).parents[1]))

if __name__ == "__main__":
    with atheris.instrument_imports(include=["controller", "prometheus_client"], enable_loader_override=False):
        from fuzz.targets import target

        check = target(sys.argv[1]).check

    # libFuzzer runs this line again in a shell where it merges
    atheris.Setup([f"{sys.executable} {__file__} {sys.argv[1]}", *sys.argv[2:]], check)
    atheris.Fuzz()

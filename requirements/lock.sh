#!/usr/bin/env bash
# Locks the dependencies anew: run.lock for the sidecar, dev.lock for everything else on top. Needs a venv with pip-tools.
set -euo pipefail
cd "$(dirname "$0")/.."
compile="pip-compile --quiet --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --upgrade"
$compile --output-file requirements/run.lock pyproject.toml
$compile --extra plot --extra dev --constraint requirements/run.lock --output-file requirements/dev.lock pyproject.toml

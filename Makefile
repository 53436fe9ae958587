# Two commands: `make demo` and `make test`. Both set up what they need in .venv; `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
FAST := tests/unit tests/properties tests/simulation tests/cli tests/contract tests/fuzz
RUNS := -p no:cacheprovider

# the matrices are small: threads would only wait for each other
export OPENBLAS_NUM_THREADS := 1

.PHONY: help demo test test-all fast faults deploy page real lint docs lock sbom audit fuzz clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t12

demo: .venv/run  ## a simulated server, and the recommendation following its traffic
	@$(BIN)/controller demo

test: lint fast faults deploy page real  ## everything a change must pass, fast things first, real components after
	@:

test-all: .venv/dev audit  ## the slower rest
	$(BIN)/pytest $(RUNS) -m slow tests

fast: .venv/dev  ## tests without a real vLLM server
	$(BIN)/pytest $(RUNS) -q -m "not slow" -n auto --dist worksteal --doctest-modules controller $(FAST)

faults: .venv/dev  ## every fault of docs/reliability.md, played against the whole sidecar in virtual time
	$(BIN)/pytest $(RUNS) -q -m "not slow" -n auto --dist worksteal tests/faults

deploy: .venv/dev  ## chart, manifests and alert rules with the real Helm, kubectl, promtool, Prometheus, Alertmanager
	$(BIN)/pytest $(RUNS) -q -m "not slow" -n auto --dist loadfile tests/deploy

page: .venv/dev  ## the status page in a real browser
	$(BIN)/pytest $(RUNS) -q -m "not slow" -n auto --dist worksteal tests/page

real: .venv/dev  ## tests against a real vLLM server (CPU build); installs it once, in the user's cache
	$(BIN)/pytest $(RUNS) -m "not slow" tests/real_vllm

lint: .venv/dev  ## style, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy -m benchmarks.fleet -m benchmarks.real_vllm
	$(BIN)/lint-imports

docs: .venv/dev  ## write the generated documents anew
	$(BIN)/python deploy/grafana/dashboard.py
	$(BIN)/python docs/generate.py

sbom: .venv/dev  ## what the image holds, as a CycloneDX document in dist/
	mkdir -p dist
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file dist/sbom.json requirements/run.lock

audit: .venv/dev  ## known vulnerabilities and licences of what the image holds
	$(BIN)/python tools/audit.py

fuzz: .venv/dev  ## coverage-guided fuzzing of every way in from outside, a minute for each
	$(BIN)/python tests/fuzz/run.py

lock: .venv/dev  ## lock the dependencies anew
	PATH=$(CURDIR)/$(BIN):$$PATH requirements/lock.sh

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Name another one with: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv

.venv/run: .venv/bin/python requirements/run.lock pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/run.lock -r requirements/build.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev: .venv/run requirements/dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/dev.lock
	@touch $@

clean:  ## remove what was set up here
	rm -rf .venv build dist .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# `make quickstart` and `make test` need nothing but Python 3.11 or newer: they make .venv and install into it.
# `make bench ARGS="--data-root DIR"` measures against textbook versions; ARGS=--help says what can be asked for.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-slow deployment bench bench-gpu scale worth faults attacks lint clean

quickstart: $(VENV)/.installed
	$(BIN)/fedistill run quickstart

# A process a core, a file each, in the order of tests/conftest.py: every process computes with one thread, so that they
# do not wait for each other.
SPREAD := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test: $(VENV)/.installed-test
	$(SPREAD) -m "not slow and not deployment"

# What takes more than ten seconds each: audits, a wheel, notebooks; then, alone, what starts Ray, for it takes all cores.
# Both are run whatever the first ends with, and either fails them all.
test-slow: $(VENV)/.installed-test
	failed=0; \
	$(SPREAD) -m "slow and not ray and not deployment" || failed=1; \
	$(BIN)/python -m pytest -m "slow and ray and not deployment" || failed=1; \
	exit $$failed

# A server and three sites as processes of their own, over TLS; minutes, most of them waiting for a dead site's heartbeat.
deployment: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m deployment tests/deployment

bench: $(VENV)/.installed-test
	PYTHONPATH=tests $(BIN)/python -m benchmarks $(ARGS)

# On a GPU, against textbook loops and the card's own ceilings: PyTorch, NumPy, pydantic. ARGS=--cpu-check needs no GPU.
bench-gpu:
	PYTHONPATH=.:tests $(or $(wildcard $(BIN)/python),$(PYTHON)) -m benchmarks.gpu $(ARGS)

scale: $(VENV)/.installed-test
	PYTHONPATH=tests $(BIN)/python -m benchmarks.scale runs/scale $(ARGS)

# What a method's images are worth on the sets of simulations/worth.toml: ARGS="--methods dm --sets tuned --jobs 2".
worth: $(VENV)/.installed-test
	PYTHONPATH=tests $(BIN)/python -m benchmarks.worth $(ARGS)

faults: $(VENV)/.installed-test
	PYTHONPATH=tests $(BIN)/python -m faults runs/faults $(ARGS)

# What a server, or anybody who reaches a machine, might try: a line each, what it got before and what refuses it.
attacks: $(VENV)/.installed-test
	PYTHONPATH=tests $(BIN)/python -m attacks $(ARGS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache

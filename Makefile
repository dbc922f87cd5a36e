# Perdure. `make help` lists the targets; CI calls the same ones.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/perdure
VENV := .venv
BIN := $(VENV)/bin

# The first interpreter that runs and is 3.11 or newer, whichever `python3` is.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 \
	$$HOME/.pyenv/versions/3.1[1-9]*/bin/python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && \
	$$p -c 'import sys; print(sys.executable)' && break; done)

# uv from PATH when it runs, else our own copy, outside the tree and outside the system's Python.
UV ?= $(shell uv --version >/dev/null 2>&1 && echo uv || echo $(CACHE)/uv/bin/uv)

JOBS ?= 2

.PHONY: help setup uv deps cli bubblewrap demo dev check format test crash faults bench scale clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1\t\2/' | expand -t 12

setup: deps cli bubblewrap ## install everything into .venv, get the Temporal CLI

uv:
	@test -n "$(PYTHON)" || { echo "Perdure needs Python 3.11 or newer; none was found. Install one, or run: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(UV) --version >/dev/null 2>&1 || { \
		echo "installing uv into $(CACHE)/uv"; \
		"$(PYTHON)" -m venv "$(CACHE)/uv"; \
		"$(CACHE)/uv/bin/python" -m pip install --quiet --disable-pip-version-check uv; }

deps: uv
	@$(UV) sync --quiet --locked --all-extras --python "$(PYTHON)"

cli: deps
	@$(BIN)/python -m perdure_worker.temporal_cli --ensure >/dev/null

# Code nodes run without it too, in the first sandbox only; so nothing here is fatal.
bubblewrap:
	@command -v bwrap >/dev/null 2>&1 || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
			(apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq bubblewrap) >/dev/null 2>&1 \
			&& echo "installed bubblewrap" \
			|| echo "note: bubblewrap could not be installed; code nodes that need CPython will not run" >&2; \
		else \
			echo "note: bubblewrap is missing (apt-get install bubblewrap); code nodes that need CPython will not run" >&2; \
		fi; }

demo: setup ## run a graph, kill the worker in the middle, watch the run go on
	@$(BIN)/python examples/demo.py

dev: setup ## server, worker and web UI, until Ctrl-C
	@$(BIN)/perdure dev

check: deps ## lint, format, types, architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: deps ## fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: setup ## all tests
	$(BIN)/pytest -n $(JOBS) --dist loadgroup

crash: setup ## kill everything at every moment, print what was lost (docs/crash.md)
	@PYTHONPATH=tests $(BIN)/python -m crash.matrix

faults: setup ## play every fault of a model provider, write docs/model-faults.md
	@PYTHONPATH=tests $(BIN)/python -m models.faults.write

bench: setup ## measure
	@$(BIN)/python benchmarks/run.py

scale: setup ## measure a 10,000-item iteration and 200 runs at once
	@$(BIN)/python benchmarks/scale.py

clean: ## remove .venv and caches of the tree
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache

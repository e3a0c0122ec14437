# Everything needs Python 3.11+, pip and gcc only; `.venv` is made or refreshed when the lock changed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# Three on two cores: server tests mostly wait. The tests of a file share servers, so a file
# stays in one process (xdist's finer loadgroup does not group under pytest 9).
PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder -q
UPGRADES_DATA ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo test check static fast flow stack up bench peers llamacpp openhands reference screenshots clean

help:            ## show this list
	@grep -hE '^[a-z]+: .*## |^[a-z]+: *## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

venv:            ## make or refresh the environment
	@$(PYTHON) .ci/install.py

demo: venv       ## run every flow on bundled data and print one table
	@$(BIN)/loom demo

test: static     ## everything: lint, types, contracts, all tests
	@$(PYTHON) .ci/install.py --extra browser --extra reference
	@$(PYTEST) $(PARALLEL) --durations=25 --durations-min=8

check: static    ## format, lint, types, import contracts, fast tests
	@$(PYTEST) -m "not flow and not stack and not slow" $(PARALLEL)

static: venv
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

up: venv         ## Prefect server, MLflow server, a worker, all deployments; Ctrl-C ends them
	@$(BIN)/loom up

bench: venv      ## measure: make bench UPGRADES_DATA=file.parquet scores another file
	@$(BIN)/loom bench upgrades --json out/bench-upgrades.json $(if $(UPGRADES_DATA),--data $(UPGRADES_DATA))

peers: venv      ## install the libraries that the benchmark compares with
	@$(PYTHON) .ci/install.py --extra peers

llamacpp: venv   ## build llama.cpp for the benchmark of inference (10 minutes of a core)
	@$(PYTHON) .ci/install.py --extra llamacpp

openhands:       ## install openhands-sdk, which `loom bench agents` compares with (Python 3.12+)
	@$(PYTHON) .ci/openhands.py

reference: venv  ## write the API reference from docstrings to out/reference
	@$(PYTHON) .ci/install.py --extra reference
	@$(BIN)/python .ci/reference.py

screenshots: venv ## take the pictures of docs/img in a real browser
	@$(PYTHON) .ci/install.py --extra browser
	@LOOM_SCREENSHOTS=docs/img $(PYTEST) tests/stack/test_browser.py tests/models/agents/test_web.py -q

clean:           ## remove the environment and all state of this checkout
	rm -rf .venv .loom out .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

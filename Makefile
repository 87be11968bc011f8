# Two commands on a fresh machine (Debian 12, Python 3.11, pip, make): `make demo`, `make test`.
# Everything that is not a result goes to stderr, so that `make demo ARGS="--json"` is JSON alone.

MAKEFLAGS += --no-print-directory --no-builtin-rules
SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The tests and the demo start many processes; each that compiles its modules anew comes a second
# later.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python
UV := $(BIN)/uv
ARGS :=
KAFKA :=

# The two stages of an installation; each is redone when its lock or the project's own file changes.
RUN := $(VENV)/.installed-run
DEV := $(VENV)/.installed-dev
OURSELVES := $(UV) pip install --python $(PYTHON) --quiet --no-deps --no-build-isolation --editable .
INPUTS := requirements/install requirements/uv.txt pyproject.toml

.PHONY: help setup demo test lint format reference kafka chaos bench wheel lock system clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(DEV)  ## everything for working on Tidings, into .venv
	@:

demo: $(RUN)  ## the whole road on sample traffic (ARGS="--for 30s --json", KAFKA=1: over Kafka)
	@$(BIN)/tidings demo $(if $(KAFKA),--kafka) $(ARGS)

test: $(DEV)  ## lint, types, floors, then all tests by two workers (ARGS: pytest's)
	@.ci/system ensure
	@[ "$${TIDINGS_TEST_KAFKA:-}" = off ] || $(PYTHON) -m tidings.services.kafka fetch
	@$(MAKE) lint
	@$(BIN)/pytest $(ARGS)

lint: $(DEV)  ## ruff, mypy, import-linter
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo

format: $(DEV)  ## what ruff can put right by itself
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

reference: $(DEV)  ## docs/operators.md and docs/schema anew, from the specs
	@$(PYTHON) -m tidings.reference > docs/operators.md
	@$(PYTHON) -m tidings.cli schema --write docs/schema

kafka: $(RUN)  ## a Kafka for you on 127.0.0.1:9092, data in data/kafka; Ctrl-C stops it
	@$(PYTHON) -m tidings.services.kafka run --port 9092 --folder data/kafka

chaos: $(DEV)  ## kill -9 at random instants, and an oracle that counts what was lost
	@$(PYTHON) -m tests.chaos.run $(ARGS)

bench: $(DEV)  ## what an event, a digest and a send cost
	@$(PYTHON) -m benchmarks.run $(ARGS)

wheel: $(DEV)  ## the wheel, into dist/
	@$(UV) build --quiet --wheel --no-build-isolation --python $(PYTHON) --out-dir dist

lock: $(DEV)  ## the locks anew from pyproject.toml (ARGS=--upgrade: with the newest versions)
	@$(COMPILE) --group installer --output-file requirements/uv.txt
	@$(COMPILE) pyproject.toml --group build --output-file requirements/run.txt
	@$(COMPILE) pyproject.toml --group build --group dev --constraints requirements/run.txt \
		--output-file requirements/dev.txt

system:  ## as root: Java, Maven and nginx, where they are missing
	@.ci/system install

clean:  ## removes what builds and tools left behind; .venv and data/ stay
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command "make lock" $(ARGS)

$(RUN): requirements/run.txt $(INPUTS)
	@requirements/install $(VENV) run
	@$(OURSELVES) >&2
	@touch $@

$(DEV): requirements/dev.txt requirements/run.txt $(INPUTS)
	@requirements/install $(VENV) dev
	@$(OURSELVES) >&2
	@touch $@ $(RUN)

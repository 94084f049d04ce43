# Everything below sets itself up: `make demo` or `make test` alone, on a fresh Debian machine, is enough.
# Needed: make, Python 3.11 or later, PyPI, and (for the browser tests) Debian's Chromium.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help

PYTHON ?= python3
PY     := .venv/bin/python
# Tests at once where they do not start workers (0: one after the other). Those that do have the machine for themselves.
XDIST  ?= 2
PYTEST ?= $(PY) -m pytest

.PHONY: demo test unit runtime notebook browser lab bench bench-bars bench-quick chaos lint format rooms setup clean help constraints chromium strace

## Run the guided tour in this terminal
demo: .venv/.demo
	$(PY) notebooks/run_demo.py

## Format, lint, types, then every test; fails if any part fails
test: .venv/.test chromium strace
	@failed=""; \
	for part in lint unit runtime notebook browser; do \
	    echo; echo "== $$part"; \
	    $(MAKE) $$part || failed="$$failed $$part"; \
	done; \
	echo; \
	if [ -n "$$failed" ]; then echo "FAILED:$$failed"; exit 1; fi; \
	echo "lint, unit, runtime, notebook, browser: all passed"

## Tests without workers: nouns, payloads, store, queue, words, HTML
unit: .venv/.test strace
	$(PYTEST) tests --ignore=tests/runtime --ignore=tests/notebook --ignore=tests/browser -n $(XDIST)

## Tests with real workers and children
runtime: .venv/.test
	$(PYTEST) tests/runtime -n $(XDIST)

## Tests in a real kernel (nbclient)
notebook: .venv/.test
	$(PYTEST) tests/notebook -n $(XDIST)

# A pytest of its own: Playwright's sync API occupies the event loop.
## Tests in a real JupyterLab in Chromium
browser: .venv/.test chromium
	$(PYTEST) tests/browser

## JupyterLab on the notebooks, at 127.0.0.1
lab: .venv/.demo
	$(PY) -m jupyterlab --ServerApp.ip=127.0.0.1 --ServerApp.root_dir=notebooks $$([ "$$(id -u)" != 0 ] || echo --allow-root)

## gigq_nb and its peers side by side
bench: .venv/.bench
	$(PY) -m tests.bench

## What its bars need, in a quarter of an hour
bench-bars: .venv/.bench
	$(PY) -m tests.bench --bars

## The same in a minute
bench-quick: .venv/.bench
	$(PY) -m tests.bench --quick

## Kill workers and children at random, then check the file
chaos: .venv/.test
	$(PY) -m tests.chaos

## Check the form: ruff format, ruff check, mypy
lint: .venv/.test
	@bad=0; for check in "ruff format --check ." "ruff check ." "mypy"; do \
	    echo "$(PY) -m $$check"; $(PY) -m $$check || bad=1; done; exit $$bad

## Put the form right
format: .venv/.test
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

## Draw who imports whom
rooms: .venv/.test
	$(PY) -m tests.rooms

## Make .venv with all that tests and notebooks need
setup: .venv/.test

## Take away what make made (not your queues)
clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist tests/browser/shots
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

## This list
help:
	@awk '/^## /{text=substr($$0,4)} /^[a-z-]+:/{split($$0,a,":"); if (text) printf "  make %-12s %s\n", a[1], text; text=""}' Makefile

# --- setting up ------------------------------------------------------------------------------------------------------

as_root := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
apt      = $(as_root) apt-get update -qq && $(as_root) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq

# Debian has venv (and sometimes Python itself) in packages of their own.
.venv/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "installing Python"; $(apt) python3 python3-venv >/dev/null; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "gigq_nb needs Python 3.11 or later; name one with: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "installing python3-venv"; $(apt) python3-venv >/dev/null; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q --disable-pip-version-check uv -c constraints.txt || echo "no uv: pip does it, slower"

# One stamp an extra; each is made anew when what it was made from changes. README.md must only exist: hatchling reads it.
.venv/.demo .venv/.test .venv/.bench: .venv/.%: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing gigq-nb[$*]"
	@if [ -x .venv/bin/uv ]; then \
	    .venv/bin/uv pip install -q --compile-bytecode -p $(PY) -c constraints.txt -e '.[$*]'; \
	else \
	    $(PY) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[$*]'; \
	fi
	@touch $@

# No `playwright install`: the driver is in the wheel, the browser is Debian's.
chromium:
	@[ -n "$${GIGQ_CHROMIUM:-}" ] || command -v chromium >/dev/null || \
	    { echo "installing Chromium (40 s)"; $(apt) chromium >/dev/null; }

# The replay of power cuts (tests/store/test_power.py) records system calls.
strace:
	@command -v strace >/dev/null || [ "$$(uname)" != Linux ] || { echo "installing strace"; $(apt) strace >/dev/null; }

# Resolve everything anew at the newest versions that Debian 12's Python 3.11.2 can run, uv included; then: make test bench-quick
constraints: .venv/bin/python
	@head -2 constraints.txt > .venv/constraints
	@echo uv > .venv/uv.in
	.venv/bin/uv pip compile -q --upgrade --python-version 3.11.2 --no-header --no-annotate --no-emit-index-url \
	    --extra bench pyproject.toml .venv/uv.in >> .venv/constraints
	mv .venv/constraints constraints.txt

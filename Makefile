# `make demo` shows a lease from quote to expiry, `make test` checks everything.
# Both set up what they need; see README.md.

# The first that runs and is new enough, the one of the distribution before all; `make PYTHON=...`
# names another.
ifndef PYTHON
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
endif
BIN := .venv/bin

# `make demo --keep` reads well, but make takes --keep for its own --keep-going.
DEMO_ARGS ?= $(if $(findstring k,$(firstword -$(MAKEFLAGS))),--keep)

.DEFAULT_GOAL := all
.PHONY: all setup demo test test-fast lint types bench chaos conformance clean python

all: python ## .venv with everything that develops and runs pve402
	@$(PYTHON) scripts/setup.py develop
	@echo "ready: $(BIN)/pve402"

setup: python ## all that `make test` needs, programs of the distribution included
	@$(PYTHON) scripts/setup.py test

demo: python ## one lease, from quote to expiry, on this machine alone
	@$(PYTHON) scripts/setup.py run
	@$(BIN)/python scripts/demo $(DEMO_ARGS)

test: setup ## every check; what CI runs
	@$(BIN)/python scripts/check.py all

test-fast: python ## lint, types, layers and unit tests
	@$(PYTHON) scripts/setup.py develop
	@$(BIN)/python scripts/check.py fast

lint types bench chaos conformance: python
	@$(PYTHON) scripts/setup.py $(if $(filter lint types,$@),develop,$(if $(filter conformance,$@),conformance,test))
	@$(BIN)/python scripts/check.py $@

clean: ## remove everything that setup and the checks made
	rm -rf .venv .venv-fakepve .venv-x402-legacy .venv-conformance .venv-e2b .venv-generators .venv-ssh-clients .cache build devnet/build
	rm -rf tests/npm/node_modules tests/npm-e2b/node_modules web/npm/node_modules
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf src/*.egg-info devnet/src/*.egg-info
	find src devnet tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

python:
	@test -n "$(PYTHON)" || \
	{ echo "pve402 needs Python 3.11 or later; on Debian: apt-get install python3" >&2; exit 2; }

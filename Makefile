# The whole of Scoreboard behind a few commands; `make` alone lists them.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# Read by the stack; `make run PORT=9000 DATA_DIR=/srv/scores` sets them like the environment does.
PORT ?=
DATA_DIR ?=
SCOPE ?= scores:write
TIME ?=
KEEP_TOKENS ?=
QUICK ?=
ARGS ?=
VENV ?= .venv
# The first interpreter that is new enough; `make run PYTHON=/path/to/python3.12` picks another.
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$each"; break; }; done)

export DATA_DIR PORT

BIN := $(VENV)/bin
PACKAGES := models web worker deploy migrations

.PHONY: help run production production-drill test faults soak mutants bench lint format token demo reload backup restore requirements clean

help: ## list what make can do
	@echo "Scoreboard: make <target>, where <target> is"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r name what; do \
		printf '  %-14s %s\n' "$${name#  }" "$$what"; done

run: $(VENV)/installed ## start the whole service here (PORT=8000, DATA_DIR=~/.local/share/scoreboard); Ctrl-C stops it
	@exec $(BIN)/python -m deploy.local

test: $(VENV)/installed-dev ## check everything: style, types, import rules, then all tests
	@echo "== ruff: style and likely mistakes"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "== mypy: types"
	@$(BIN)/mypy $(PACKAGES)
	@echo "== import-linter: who may import whom"
	@$(BIN)/lint-imports --no-cache
	@echo "== pytest: all tests, with their own PostgreSQL, Valkey, workers and sockets"
	@exec $(BIN)/python -m pytest -q --durations=15 --numprocesses 2 --dist loadfile $(ARGS)

faults: $(VENV)/installed-dev ## attack the service with every fault there is, an hour and a half (ARGS='--list' tells more)
	@exec $(BIN)/python -m tests.faults --pictures $(ARGS)

soak: $(VENV)/installed-dev ## 20 minutes under load with a fault every 30 s: memory, files, threads (ARGS='--minutes 5')
	@exec $(BIN)/python -m tests.faults.soak $(ARGS)

mutants: $(VENV)/installed-dev ## break the service in one place after the other: each must turn a test red (ARGS='--only NAME')
	@exec $(BIN)/python -m tests.faults.mutants $(ARGS)

bench: $(VENV)/installed-dev ## measure and draw all of docs/performance.md, needs wrk, cc, nginx, haproxy; an hour (QUICK=1: three minutes)
ifdef QUICK
	@$(BIN)/python -m bench.rates --quick
	@$(BIN)/python -m bench.sockets --quick
	@$(BIN)/python -m bench.edge --quick
else
	@$(BIN)/python -m bench.rates
	@$(BIN)/python -m bench.sockets
	@$(BIN)/python -m bench.edge
	@$(BIN)/python -m bench.budget
	@$(BIN)/python -m bench.growth
	@$(BIN)/python -m bench.pictures
endif

lint: $(VENV)/installed-dev ## only the checks that run nothing: ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES)
	$(BIN)/lint-imports --no-cache

format: $(VENV)/installed-dev ## let ruff set the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

token: $(VENV)/installed ## print a service token of the running stack (SCOPE=scores:write)
	@exec $(BIN)/flask --app web tokens create --scope $(SCOPE)

demo: $(VENV)/installed ## let players play on the running stack (ARGS='--help' tells more)
	@exec $(BIN)/flask --app web demo $(ARGS)

production: $(VENV)/installed ## start the whole deployment here, without containers (PORT=8700); Ctrl-C stops it
	@exec $(BIN)/python -m deploy.production

production-drill: $(VENV)/installed-dev ## lose one of everything in the running deployment, a quarter of an hour (ARGS='--list' tells more)
	@exec $(BIN)/python -m tests.drill $(ARGS)

reload: $(VENV)/installed ## put new processes in the place of the running stack's, one after the other, refusing nobody
	@exec $(BIN)/python -m deploy.local.reload

backup: $(VENV)/installed ## copy the running stack's database into DATA_DIR/backups, beside the WAL it keeps there
	@exec $(BIN)/python -m deploy.local.backup

restore: $(VENV)/installed ## put the stopped stack's database back (TIME=2026-11-25T10:00:00Z; without: to the newest)
	@exec $(BIN)/python -m deploy.local.restore $(if $(TIME),--time '$(TIME)') $(if $(KEEP_TOKENS),--keep-tokens)

requirements: ## pin requirements*.in anew, with hashes, for every Python we support (needs uv)
	uv pip compile --universal --generate-hashes --no-header --quiet --python-version 3.11 --upgrade \
		requirements.in --output-file requirements.txt
	uv pip compile --universal --generate-hashes --no-header --quiet --python-version 3.11 --upgrade \
		requirements-dev.in --output-file requirements-dev.txt

clean: ## remove the virtual environment and what tools have cached (never your data)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: installing again happens only when the pinned requirements have changed.
$(VENV)/installed: requirements.txt
	@$(call install,requirements.txt)
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt
	@$(call install,requirements-dev.txt)
	@touch $@ $(VENV)/installed

# A virtual environment that was left half made, or whose Python is gone, is made anew.
define install
if [ -z "$(PYTHON)" ]; then echo "Scoreboard needs Python 3.11 or newer: install it, or name one with PYTHON=/path/to/python3" >&2; exit 1; fi; \
if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	echo "making $(VENV) with $$($(PYTHON) --version)"; \
	$(PYTHON) -m venv --clear $(VENV) >/dev/null || { echo "Python's venv module is missing: install it (on Debian: python3-venv)" >&2; exit 1; }; \
fi; \
echo "installing $(1) (the first time takes a minute)"; \
$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --requirement $(1)
endef

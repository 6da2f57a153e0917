# The commands of a fresh checkout. `make` alone lists them.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed-
FUZZ_SECONDS ?= 30
IMAPTEST_SECONDS ?= 60
JOBS ?= 3
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test check bench fuzz imaptest servers

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP)demo ## the whole story in seconds: two phones, one with TikTok
	$(BIN)/gatekeeper demo

# A file's tests share servers: it goes to one process as a whole, in the order of tests/conftest.py, the long ones first.
# Long files wait for servers and timers more than for a processor: one process more than a small machine has of those.
# Hundreds of gates and commands are started, each of which would compile every module if it could not keep the result.
test: export PYTHONDONTWRITEBYTECODE =
test: $(STAMP)dev servers ## every check and test; as root it installs the mail servers they need
	@$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest -q --tx '$(JOBS)*popen//python=$(BIN)/python -X dev' --dist loadfile --no-loadscope-reorder

check: $(STAMP)dev ## format, lint, types, import contracts: seconds
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)dev servers ## mail side by side with nginx and Dovecot, then decisions, plans and logs; BENCH=--quick for a first look
	$(BIN)/python -m benchmarks $(BENCH)

fuzz: $(STAMP)fuzz ## every parser of what strangers send; FUZZ_SECONDS=30 for each, FUZZ="imap sasl" for some
	$(BIN)/python tests/fuzz/run.py $(FUZZ_SECONDS) $(FUZZ)

imaptest: $(STAMP)dev servers ## ImapTest straight at Dovecot and through the gate; it is built first (root, network)
	tests/imaptest/build.sh .venv/imaptest
	$(BIN)/python tests/imaptest/run.py .venv/imaptest $(IMAPTEST_SECONDS)

servers:
	@tests/install_servers.sh

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Gatekeeper needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

$(STAMP)demo: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[demo]'
	@touch $@

$(STAMP)dev: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[demo,dev]'
	@touch $@ $(STAMP)demo

$(STAMP)fuzz: $(STAMP)dev
	$(PIP) --editable '.[demo,dev,fuzz]'
	@touch $@

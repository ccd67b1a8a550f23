# Everything here is a short name for a script in scripts/; each of them says what it does with --help.

# Any Python 3 can start the scripts; scripts/up.py finds one from 3.11 to 3.13 for the project itself.
PYTHON := $(shell for p in $(ORCHESTRATOR_PYTHON) python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 6))' >/dev/null 2>&1 && echo "$$p" && break; done)
VENV_PYTHON := .venv/bin/python
CHECKS := $(VENV_PYTHON) scripts/checks.py

.DEFAULT_GOAL := help
.PHONY: help up ui check test faults fuzz bench lock wheel clean python prepare

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: python ## from nothing to the printed address; make up ARGS="--port 9000"
	@$(PYTHON) scripts/up.py $(ARGS)

ui: python ## build the page again after a change in ui/
	@$(PYTHON) scripts/up.py --prepare

check: prepare ## format, lint, types, import contracts, unit and conformance tests: under a minute
	@$(CHECKS) check $(ARGS)

test: python ## everything, as continuous integration runs it: up to 15 minutes
	@$(PYTHON) scripts/up.py --prepare --dev
	@$(CHECKS) test $(ARGS)

faults: prepare ## kill -9, full disks, cut connections, and the limits in real time
	@$(CHECKS) faults $(ARGS)

fuzz: prepare ## the random tests with new seeds, and more of them
	@$(CHECKS) fuzz $(ARGS)

bench: prepare ## our speed against the floor, in one run on this machine
	@$(VENV_PYTHON) benchmarks/run.py $(ARGS)

lock: prepare ## renew requirements.txt and requirements-dev.txt
	@$(VENV_PYTHON) scripts/lock.py $(ARGS)

wheel: prepare ## build the package, page included, into dist/
	@$(VENV_PYTHON) -m hatchling build --target sdist --target wheel

clean: ## remove what was built and installed; what the server stored (.orchestrator/) stays
	rm -rf .venv build dist ui/node_modules src/orchestrator/api/static
	rm -rf .pytest_cache .hypothesis .ruff_cache .import_linter_cache .coverage*

python:
	@test -n "$(PYTHON)" || { \
	echo "No Python 3 was found. Agentic Orchestrator needs Python 3.11, 3.12 or 3.13:"; \
	echo "  Debian, Ubuntu: sudo apt-get install python3 python3-venv"; \
	echo "  Fedora:         sudo dnf install python3.13"; \
	echo "  macOS:          brew install python@3.13"; \
	echo "  without root:   uv python install 3.13   (https://docs.astral.sh/uv/)"; \
	exit 1; } >&2

prepare: python
	@$(PYTHON) scripts/up.py --prepare --dev --no-page

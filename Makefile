# handfast: set-up, running and every check. `make run` and `make test` need no other step before them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --no-input
ARGS ?=
PYTEST_ARGS ?=

# Every start of the server or the command line would compile all of handfast anew: a second or more each time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run test check lint test-modules unit e2e testssl fuzz hammer bench docs lock clean dev-setup system-packages node-packages
.DELETE_ON_ERROR:

help: ## print this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(STAMPS)/package ## create .venv with the locked dependencies and handfast

run: $(STAMPS)/package ## run `handfast serve`; make run ARGS="--mqtt-port 0" passes arguments on
	@exec $(BIN)/handfast serve $(ARGS)

# What precedes the tests uses one core each, so two run side by side.
test: ## every test that CI runs, and style and types
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint test-modules node-packages
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(PYTEST_ARGS)

check: lint ## style, types, import directions, stale docs; seconds
	$(BIN)/python -m pytest -q tests/unit/test_imports.py tests/docs/test_docs.py

lint: dev-setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Compiled once, instead of by every worker at the same moment.
test-modules: dev-setup
	@mkdir -p build; echo "compiling the tests"; \
	  $(BIN)/python -m pytest --collect-only -qq >build/tests.log || { cat build/tests.log; exit 1; }

unit: dev-setup ## unit tests alone; no services
	$(BIN)/python -m pytest tests/unit $(PYTEST_ARGS)

e2e: dev-setup system-packages node-packages ## a real server, driven by software that this project did not write
	$(BIN)/python -m pytest tests/e2e $(PYTEST_ARGS)

hammer: dev-setup ## do everything at once to the same certificates, for HAMMER_SECONDS (120) from HAMMER_SEED (1)
	HAMMER_SECONDS=$(or $(HAMMER_SECONDS),120) $(BIN)/python -m pytest -s tests/e2e/test_hammer.py $(PYTEST_ARGS)

testssl: dev-setup ## testssl.sh on every TLS port, its findings held against tests/testssl/expected.toml; ten minutes
	$(call need_programs,testssl openssl,testssl.sh openssl)
	$(BIN)/python -m tests.testssl.run

fuzz: dev-setup ## certificates and requests at random; make fuzz ARGS="--kind hellos --minutes 30", or --seed, --replay FILE
	$(BIN)/python -m tests.fuzz.run $(ARGS)

bench: dev-setup ## measure side by side with mosquitto; see benchmarks/README.md
	$(MAKE) -C benchmarks PYTHON=$(abspath $(BIN)/python) ARGS="$(ARGS)"

docs: dev-setup ## write the generated parts of docs/ anew
	$(BIN)/python docs/generate.py

lock: ## resolve the dependencies anew into requirements/*.lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet pip-tools
	build/lock/bin/pip-compile --quiet --upgrade $(LOCK_FLAGS) --output-file requirements/runtime.lock \
	  pyproject.toml requirements/build.in
	build/lock/bin/pip-compile --quiet --upgrade $(LOCK_FLAGS) --output-file requirements/dev.lock \
	  --extra dev --constraint requirements/runtime.lock pyproject.toml requirements/build.in
LOCK_FLAGS := --generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-index-url --no-emit-trusted-host

clean: ## remove what `make` made; never the data directory
	rm -rf $(VENV) build dist tests/js/node_modules src/handfast.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

dev-setup: $(STAMPS)/dev

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "handfast needs Python 3.11 or newer; $(PYTHON) is older or missing: make PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv; } || \
	  { echo "Python's venv module is missing: sudo apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/runtime: requirements/runtime.lock | $(STAMPS)/venv
	$(PIP) install --no-deps --require-hashes -r requirements/runtime.lock
	@touch $@

$(STAMPS)/package: pyproject.toml $(STAMPS)/runtime
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# dev.lock holds all of runtime.lock: one run of pip for both.
$(STAMPS)/dev: requirements/dev.lock pyproject.toml | $(STAMPS)/venv
	$(PIP) install --no-deps --require-hashes -r requirements/dev.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	$(PIP) check
	@touch $(STAMPS)/runtime $(STAMPS)/package $@

# The programs that the end-to-end tests drive. Debian keeps mosquitto in /usr/sbin. Node.js may have come from elsewhere
# than Debian's packages, and then npm came with it and Debian's must not be asked for: hence two lists.
SYSTEM_PACKAGES := mosquitto mosquitto-clients openssl curl iproute2
NODE_PACKAGES := nodejs npm
define need_programs
@PATH="$$PATH:/usr/sbin"; \
	for program in $(1); do \
	  command -v $$program >/dev/null && continue; \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    export DEBIAN_FRONTEND=noninteractive; \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends $(2) && exit 0; \
	  fi; \
	  echo "the tests need $$program: sudo apt-get install $(2)" >&2; exit 2; \
	done
endef
system-packages:
	$(call need_programs,mosquitto mosquitto_pub mosquitto_sub openssl curl ss,$(SYSTEM_PACKAGES))
	$(call need_programs,node npm,$(NODE_PACKAGES))

# AWS's SDKs for JavaScript, as tests/js/package-lock.json names them. A registry that does not answer stops the tests
# with a line that says so, and cannot hang them.
NODE_STAMP := tests/js/node_modules/.installed
node-packages: $(NODE_STAMP)
$(NODE_STAMP): tests/js/package-lock.json tests/js/package.json tests/js/.npmrc | system-packages
	@echo "npm ci in tests/js"; cd tests/js && timeout --kill-after=10 300 npm ci --loglevel=error --no-progress || \
	  { echo "npm did not install the SDKs for JavaScript (see above): run 'make node-packages' again" >&2; exit 2; }
	@touch $@

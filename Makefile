# Everything runs from a virtual environment in .venv, which the first call makes. `make help` lists the calls.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help run check test lint bench wheel docs engines vllm clean

PYTHON := .venv/bin/python
PIP := pip install --quiet --no-input --disable-pip-version-check
PIP_INSTALL := $(PYTHON) -m $(PIP)
NPM := ../../scripts/with-node npm
CLIENT := web/client
PAGE := $(CLIENT)/dist/index.html
CLIENT_SOURCES := $(shell find $(CLIENT) \( -name node_modules -o -name dist -o -name test-results \) -prune -o -type f -print 2>/dev/null)

# Processes that share the tests. Calls in real time mostly wait, but need a core when they do not: fewer than four leave none
# over. tests/sharing.py says who takes which file, and how many talk at once.
WORKERS ?= $(if $(filter-out 1 2 3,$(shell nproc 2>/dev/null || echo 1)),4,1)
OTHER_PATHS := $(filter-out tests/engines/model%,$(filter tests/%,$(ARGS)))
TESTS := $(if $(filter tests/engines/model%,$(ARGS)),$(if $(OTHER_PATHS),,true ))$(PYTHON) -m pytest \
	$(if $(filter-out 0 1,$(WORKERS)),-n $(WORKERS) --dist loadfile) $(filter-out tests/engines/model%,$(ARGS))
# The engines' tests compute all the time and run beside the others, on one core; what they say is shown at the end. They and
# lint give way to calls in real time.
GIVING_WAY := nice -n 10
ENGINES_LOG := .make/engines-tests.log
ENGINES_PATHS := $(if $(filter tests/%,$(ARGS)),$(filter tests/engines/model%,$(ARGS)),tests/engines/model)
ENGINES_TESTS := OMP_NUM_THREADS=1 $(GIVING_WAY) .venv-engines-test/bin/python -m pytest $(ENGINES_PATHS) $(filter-out tests/%,$(ARGS))
WITH_ENGINES := $(if $(filter 0,$(ENGINES)),,$(ENGINES_PATHS))

# Only a missing .venv needs a search for a Python; an unfit machine then gets one line instead of a failed rule.
ifeq ($(wildcard $(PYTHON)),)
  ifneq ($(filter-out help clean,$(or $(MAKECMDGOALS),help)),)
    BASE_PYTHON := $(shell scripts/find-python)
    ifneq ($(words $(BASE_PYTHON)),1)
      $(error $(BASE_PYTHON))
    endif
  endif
endif

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

run: .make/base $(PAGE) ## set up what is missing and serve (options: ARGS="--port 8000")
	@exec $(PYTHON) run_agent.py serve $(ARGS)

check: .make/base $(PAGE) ## say what is missing or wrong on this machine
	@$(PYTHON) run_agent.py check $(ARGS)

test: .make/dev $(PAGE) $(if $(WITH_ENGINES),.make/engines-test) ## all tests (options: ARGS="-k name" WORKERS=1 ENGINES=0)
	@scripts/system-packages
ifneq ($(WITH_ENGINES),)
	@mkdir -p .make; code=0; set -m; $(ENGINES_TESTS) >$(ENGINES_LOG) 2>&1 & set +m; engines=$$!; \
	trap 'kill -- -$$engines 2>/dev/null || :' EXIT; \
	$(TESTS) || code=$$?; \
	wait $$engines || [ $$? = 5 ] || code=1; \
	cat $(ENGINES_LOG); exit $$code # 5: ARGS choose none of the engines' tests.
else
	$(TESTS)
endif
	@if [ -f $(CLIENT)/package.json ]; then cd $(CLIENT) && $(NPM) test --if-present; fi

lint: .make/dev .make/client ## style and types
	$(GIVING_WAY) $(PYTHON) -m ruff check .
	$(GIVING_WAY) $(PYTHON) -m ruff format --check .
	$(GIVING_WAY) $(PYTHON) -m mypy
	@if [ -f $(CLIENT)/package.json ]; then cd $(CLIENT) && $(NPM) run --if-present typecheck; fi

bench: .make/dev $(PAGE) ## measure beside a peer (options: ARGS="latency --quick")
	@scripts/system-packages
	$(PYTHON) -m bench $(or $(ARGS),latency)

wheel: .make/base $(PAGE) ## one installable file, with the page, in dist/
	@rm -rf build # What an earlier wheel left there would be packed again.
	$(PYTHON) -m pip wheel --quiet --no-input --no-deps --wheel-dir dist .

docs: .make/base ## configs/embedded.yaml and docs/configuration.md from the settings tree
	$(PYTHON) scripts/make-config-docs

engines: .make/engines ## the speech engines' own environment, for a machine with a GPU (several GB)

vllm: .make/vllm ## vLLM's own environment, for a machine with a GPU (several GB)

clean: ## forget what was set up and built (not data/)
	rm -rf .venv .venv-engines .venv-engines-test .venv-vllm .make build dist $(CLIENT)/node_modules $(CLIENT)/dist

.venv/pyvenv.cfg:
	@echo "Making .venv with $(BASE_PYTHON)"
	@$(BASE_PYTHON) -m venv --clear .venv
	@touch $@

.make/base: .venv/pyvenv.cfg requirements/base.txt
	@echo "Installing Python packages"
	@$(PIP_INSTALL) -r requirements/base.txt
	@mkdir -p .make && touch $@

.make/dev: .make/base requirements/dev.txt
	@echo "Installing Python packages for development"
	@$(PIP_INSTALL) -r requirements/dev.txt
	@mkdir -p .make && touch $@

.venv-engines/pyvenv.cfg .venv-engines-test/pyvenv.cfg .venv-vllm/pyvenv.cfg: .venv/pyvenv.cfg
	@$(PYTHON) -m venv --clear $(@D)
	@touch $@

# moshi pins packages that the rest of Parley cannot live with, so its engines have an environment of their own.
.make/engines: .venv-engines/pyvenv.cfg requirements/engines.txt requirements/engines-gpu.txt
	@echo "Installing the speech engines (PyTorch with CUDA: several GB)"
	@$(<D)/bin/python -m $(PIP) -r requirements/engines-gpu.txt
	@mkdir -p .make && touch $@

# vLLM pins one release of PyTorch, and moshi others.
.make/vllm: .venv-vllm/pyvenv.cfg requirements/vllm.txt
	@echo "Installing vLLM (PyTorch with CUDA: several GB)"
	@$(<D)/bin/python -m $(PIP) -r requirements/vllm.txt
	@mkdir -p .make && touch $@

# Tests take PyTorch's build for the CPU, where an index offers it by its name, and moshi without its pins: they ask for older
# releases than there are such builds of.
.make/engines-test: .venv-engines-test/pyvenv.cfg requirements/engines.txt requirements/engines-test.txt
	@echo "Installing the speech engines for tests (ENGINES=0 leaves them out)"
	@$(<D)/bin/python -m $(PIP) torch==2.13.0+cpu 2>/dev/null || $(<D)/bin/python -m $(PIP) torch==2.13.0
	@$(<D)/bin/python -m $(PIP) -r requirements/engines-test.txt
	@$(<D)/bin/python -m $(PIP) --no-deps moshi==0.2.13
	@mkdir -p .make && touch $@

# No lock file: it would list download addresses. package.json names exact versions.
.make/client: .make/base $(wildcard $(CLIENT)/package.json)
	@if [ -f $(CLIENT)/package.json ]; then \
		echo "Installing the page's packages"; \
		cd $(CLIENT) && $(NPM) install --no-package-lock --no-audit --no-fund --loglevel=error; \
	fi
	@mkdir -p .make && touch $@

$(PAGE): .make/client $(CLIENT_SOURCES)
	@if [ -f $(CLIENT)/package.json ]; then \
		echo "Building the page"; \
		cd $(CLIENT) && $(NPM) run --silent build && touch -c dist/index.html; \
	fi

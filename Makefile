# Every target works on a machine that has only Python >= 3.11 and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CONFIG ?= configs/cartpole.yaml
NAME   = masks
WORKERS ?= 2
STAMP  := $(VENV)/.installed
# What a configuration names under `extras: [...]`.
EXTRAS  = $(shell sed -n 's/^extras: *\[\([a-z0-9, -]*\)\].*/\1/p' $(CONFIG) 2>/dev/null | tr , ' ')
PYTEST  = $(BIN)/python -m pytest --numprocesses $(WORKERS)

# Each of the tests' hundreds of processes would compile what the one before it has compiled.
test test-ray test-e2e test-slow: export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help search test test-ray test-e2e test-slow test-all lint format bench docs clean

help:            ## list the targets
	@grep -hE '^[a-z0-9-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /make \1\t/' | expand -t 16

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "prunefront needs Python >= 3.11; name one with make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[test,lint]'
	touch $@

$(VENV)/.extra-%: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$*]'
	touch $@

search: $(STAMP) $(EXTRAS:%=$(VENV)/.extra-%) ## run a search to its report (CONFIG=configs/cartpole.yaml)
	$(BIN)/prunefront search $(CONFIG) $(ARGS)

test: $(STAMP)   ## everything without Ray and a few real runs (WORKERS=2 at once)
	$(PYTEST) --dist worksteal -m "everyday or not (ray or e2e or slow)" $(ARGS)

test-ray: $(STAMP) ## what needs a cluster, one warm one a worker
	$(PYTEST) --dist loadfile -m "ray and not (e2e or everyday or slow)" $(ARGS)

test-e2e: $(STAMP) ## the command line from end to end
	$(PYTEST) --dist loadfile -m "e2e and not (slow or everyday)" $(ARGS)

test-slow: $(STAMP) ## minutes each: clusters of several nodes, whole searches of examples; 20 minutes
	$(PYTEST) --dist loadfile -m slow $(ARGS)

test-all: test test-ray test-e2e test-slow ## every test

lint: $(STAMP)   ## ruff, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## measure (NAME=masks)
	$(BIN)/python -m benchmarks.$(NAME) $(ARGS)

docs: $(STAMP)   ## the documentation, into build/docs/site; a warning is an error
	$(BIN)/python -m docs.generate
	$(BIN)/zensical build --strict

clean:           ## remove the environment, what was built, and the caches
	rm -rf $(VENV) build .cache .mypy_cache .pytest_cache .ruff_cache

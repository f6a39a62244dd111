# Every target works on a machine that has only Python >= 3.11 and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CONFIG ?= configs/cartpole.yaml
NAME   = masks
WORKERS ?= 3
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help search test lint format bench clean

help:            ## list the targets
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1\t/' | expand -t 16

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "prunefront needs Python >= 3.11; name one with make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[test,lint]'
	touch $@

search: $(STAMP) ## run a search to its report (CONFIG=configs/cartpole.yaml)
	$(BIN)/prunefront search $(CONFIG) $(ARGS)

test: $(STAMP)   ## run the tests (WORKERS=3 at once)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

lint: $(STAMP)   ## ruff, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## measure (NAME=masks)
	$(BIN)/python -m benchmarks.$(NAME) $(ARGS)

clean:           ## remove the environment and the caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

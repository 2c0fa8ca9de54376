# `make` alone lists what there is.
PYTHON3 ?= python3
VENV := .venv
PYTHON := $(VENV)/bin/python
TESTS ?= tests
.DEFAULT_GOAL := help

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON3) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON3=python3.12 …")'
	@test -x $(PYTHON) || $(PYTHON3) -m venv $(VENV)
	@echo "installing into $(VENV): several GB on first use, a few minutes"
	$(PYTHON) -m pip install --quiet --editable '.[all,dev]' --constraint constraints.txt
	@touch $@

setup: $(VENV)/ready ## make .venv with everything the zoo needs (several GB, a few minutes)

demo: setup ## train LeNet-5 on real digits, under a minute, nothing to download
	$(VENV)/bin/zoo train

test: setup ## the fast tests
	$(PYTHON) -m pytest $(TESTS) -n 2 --dist loadfile -m "not slow and not gpu" --durations=120 --durations-min=2

test-all: setup ## all tests, the slow ones and those for CUDA too
	$(PYTHON) -m pytest $(TESTS) -n 2 --dist loadfile

lint: setup ## style, imports and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: setup ## put code into the house style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: setup ## how fast we train, beside a bare loop and the usual script
	$(PYTHON) scripts/benchmark.py

data: setup ## download and verify the datasets
	$(PYTHON) scripts/prepare_data.py

results: setup ## rebuild the result tables from the records
	$(PYTHON) scripts/reproduce.py --tables

clean: ## remove caches and build output; runs, data and .venv stay
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

.PHONY: help setup demo test test-all lint format bench data results clean

# The book and its library. 'make help' lists the targets.
#   PROFILE  sizes of the book's runs: quick (default), full or paper
#   PYTHON   the interpreter that .venv is made with, 3.11 or newer

PROFILE ?= quick
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCH_INSTALLED := $(VENV)/.installed-bench
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check install \
  -c constraints.txt

ifeq ($(filter quick full paper,$(PROFILE)),)
$(error unknown PROFILE '$(PROFILE)': choose quick, full or paper)
endif

.DEFAULT_GOAL := help
.PHONY: help book test bench damage lint pair record clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 8

book: $(INSTALLED)  ## execute every chapter and build the pages, _build/html
	$(BIN)/python book/pipeline.py all --profile $(PROFILE)

test: $(INSTALLED)  ## run the tests
	$(BIN)/python -m pytest -n auto

bench: $(BENCH_INSTALLED)  ## measure the speed (an hour), write _build/bench.json
	$(BIN)/python tests/benchmarks/run.py

damage: $(INSTALLED)  ## damage all kinds of files, write _build/hard-to-break.json
	PYTHONPATH=book $(BIN)/python tests/benchmarks/damage.py

lint: $(INSTALLED)  ## check style, format, and the notebooks against their sources
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python book/pipeline.py check

pair: $(INSTALLED)  ## write every chapter's notebook from its .py, and the reference's pages
	$(BIN)/python book/pipeline.py pair

# Parts I and II are recorded at the papers' scale, the sampling of part III at ours.
record:  ## keep the numbers of large runs in book/results
	cp $(wildcard _build/out/results/*-paper.json _build/hard-to-break.json \
	  _build/out/results/nws-*-full.parquet \
	  $(foreach n,08 09 10 11 12,_build/out/results/$(n)_*-full.json)) book/results/
	$(foreach file,$(wildcard _build/out/results/guesser-full.skops), \
	  cp $(file) nwslib/meta/guesser.skops)

clean:  ## remove what was built: pages, cached outputs, zoos
	rm -rf _build

# What is installed follows these two files; only a finished install is stamped.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
	  "Python 3.11 or newer is needed, %s is older: name one with PYTHON=..." \
	  % sys.executable)'
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): about 2 GB, some minutes the first time"
	$(PIP) setuptools wheel
	$(PIP) --no-build-isolation -e ".[book,test]"
	touch $@

# What the bench compares with; nothing else needs it.
$(BENCH_INSTALLED): $(INSTALLED)
	$(PIP) --no-build-isolation -e ".[bench]"
	touch $@

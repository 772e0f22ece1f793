# The lab's commands. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DRIVER := $(VENV)/.playwright
SCALE  ?= lab
SUBJECT ?=
SUBJECTS := $(notdir $(patsubst %/experiments,%,$(wildcard lablib/*/experiments)))
RAN    := .lab/test
export OMP_NUM_THREADS ?= 1

ifneq ($(filter-out $(SUBJECTS),$(SUBJECT)),)
$(error there is no subject $(SUBJECT); expected one of: $(SUBJECTS))
endif

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

test: $(STAMP) check  ## all that must hold, in two processes (SUBJECT=ttt: what belongs to one); with CI set, test-browser too
	rm -rf $(RAN)
	LAB_TEST_PRODUCTS=$(RAN) $(BIN)/python -m pytest -n 2 --jaxtyping-packages=lablib,beartype.beartype \
	  --ignore=tests/browser $(if $(SUBJECT),--subject=$(SUBJECT)) tests
	$(if $(filter-out speed,$(SUBJECT)),,TRITON_INTERPRET=1 $(BIN)/python -m pytest -n 2 tests/kernels)
	$(if $(CI),$(MAKE) --no-print-directory test-browser LAB_TEST_PRODUCTS=$(RAN))

test-browser: $(DRIVER)  ## the notebooks in JupyterLab and the report, in a real Chromium; photographs in .lab/browser/
	@if [ -e $(DRIVER) ]; then $(BIN)/python -m pytest -n 2 $(if $(SUBJECT),--subject=$(SUBJECT)) tests/browser; fi

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

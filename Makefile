# The lab's commands. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# is there when all is installed, and holds the folder that this was done in
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

# An environment that was copied or moved runs the code of its old folder, or none. It is made anew here, as is one that
# has lost its Python, its pip or the lab.
BELONGS := import os, sys, pip, lablib; sys.exit(not os.path.samefile(next(iter(lablib.__path__)), "lablib"))
FOREIGN := $(if $(wildcard $(STAMP)),$(shell \
  { test ! -s $(STAMP) || test "$$(cat $(STAMP))" = "$$(pwd -P)"; } && $(BIN)/python -I -c '$(BELONGS)' > /dev/null 2>&1 || echo foreign))
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
ANOTHER := make setup PYTHON=/path/to/python3.11

.DEFAULT_GOAL := help
.PHONY: help setup run lab test test-browser check record clean foreign

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(STAMP)  ## make .venv and install the lab into it (once; again after a change of the requirements)

$(STAMP): pyproject.toml constraints.txt $(if $(FOREIGN),foreign)
	@command -v "$(PYTHON)" > /dev/null || { echo "There is no Python at $(PYTHON): $(ANOTHER)" >&2; exit 1; }
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' || \
	  { echo "The lab needs Python 3.11 or newer, found $$("$(PYTHON)" --version 2>&1): $(ANOTHER)" >&2; exit 1; }
	@PYTHON="$(PYTHON)" VENV="$(VENV)" FOREIGN="$(FOREIGN)"; \
	has_pip() { $(BIN)/python -I -m pip --version > /dev/null 2>&1; }; \
	test -z "$$FOREIGN" && $(BIN)/python -c '$(NEW_ENOUGH)' 2> /dev/null && has_pip && exit 0; \
	test ! -e $(VENV) || echo "$(VENV) is not whole, or was made for another folder: it is made anew."; \
	test ! -L $(VENV) || rm $(VENV); \
	said=$$("$$PYTHON" -m venv $(VENV) --clear 2>&1) && has_pip && exit 0; \
	rm -rf $(VENV); printf '%s\n' "$$said" | tail -n 1 >&2; \
	echo "$(PYTHON) makes no environment with a pip: install its venv (Debian: apt install python3-venv), or name another: $(ANOTHER)" >&2; exit 1
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[lab,test]' || \
	  { echo "pip has not installed the lab, for the reason above. Mend it and call make setup again: it goes on from here." >&2; exit 1; }
	@pwd -P > $(STAMP)

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

# `make help` lists the targets.

# The Python that .venv is created with. If it can import detectron2, its packages are used.
PYTHON ?= python3
# Passed on by quickstart, test, faults and coverage.
ARGS ?=

VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
READY := $(VENV)/ready
# One thread per process: two processes of two threads each are slower on two cores.
PYTEST := OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest --numprocesses=auto --maxprocesses=4

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test faults coverage lint architecture zoo doctor lock clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14
	@echo 'PYTHON=python3.12 chooses the Python of $(VENV) (after `make clean`).'

setup: $(READY) ## create .venv with everything installed; the targets below do so if needed

quickstart: $(READY) ## train and evaluate a small detector; ARGS="KEY VALUE ..." sets options
	$(VENV_PYTHON) tools/quickstart.py $(ARGS)

test: $(READY) ## run the tests; ARGS="tests/modeling -k fallback" picks some
	$(PYTEST) $(ARGS)

faults: $(READY) ## run the tests of kills, hostile files and fuzzing: under 15 minutes
	$(PYTEST) -m faults tests/faults $(ARGS)

coverage: $(READY) ## run the tests and list the lines of the package that they do not reach
	$(PYTEST) --cov=autoassign --cov-report=term-missing:skip-covered $(ARGS)

lint: $(READY) ## check the format, the code, the types and the imports between packages
	$(VENV_PYTHON) -m ruff format --check
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m mypy
	$(VENV)/bin/lint-imports --no-logo --no-cache

architecture: $(READY) ## draw the picture of ARCHITECTURE.md from the imports of the code
	$(VENV_PYTHON) tools/architecture.py

zoo: $(READY) ## write docs/model_zoo.md: ten minutes
	$(VENV_PYTHON) -m autoassign.analysis.zoo_page docs/model_zoo.md

doctor: $(READY) ## check the installation
	@$(VENV_PYTHON) -m autoassign doctor

lock: $(READY) ## pin the newest versions that requirements/*.in allow
	$(VENV_PYTHON) -m pip install --quiet uv
	cd requirements && for list in build run dev; do \
	  ../$(VENV_PYTHON) -m uv pip compile --quiet --upgrade --universal --fork-strategy fewest \
	    --python-version 3.10 --no-python-downloads --custom-compile-command 'make lock' \
	    $$list.in --output-file $$list.txt || exit 1; \
	done

clean: ## remove .venv and temporary files; keep output/ and datasets/
	rm -rf $(VENV) build dist *.egg-info projects/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

# Checked here because bootstrap.py itself needs a recent Python.
$(READY): $(wildcard requirements/*.txt) tools/bootstrap.py
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("Python 3.10 or newer is needed, $(PYTHON) is %d.%d: choose another, as in: make $(MAKECMDGOALS) PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) tools/bootstrap.py $(VENV)
	@touch $@

# What each target does: `make help`.

# The Python that .venv is made with. Where it can import detectron2, its packages are used.
PYTHON ?= python3
# Passed on by `quickstart` and `test`.
ARGS ?=

VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
READY := $(VENV)/ready

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test lint doctor lock clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12
	@echo 'PYTHON=python3.12 names the Python that $(VENV) is made with (`make clean` first to change it).'

setup: $(READY) ## make .venv with everything installed; the targets below do so themselves

quickstart: $(READY) ## train, evaluate and look at a small detector; ARGS="KEY VALUE ..." sets options
	$(VENV_PYTHON) tools/quickstart.py $(ARGS)

# One thread a process: two processes of two threads each are slower on two cores.
test: $(READY) ## run the tests; ARGS="tests/test_doctor.py -k nms" picks some
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest --numprocesses=auto --maxprocesses=4 $(ARGS)

lint: $(READY) ## check the format, the code and the types
	$(VENV_PYTHON) -m ruff format --check
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m mypy

doctor: $(READY) ## print versions and what works on this machine
	@$(VENV_PYTHON) -m autoassign doctor

lock: $(READY) ## pin the newest versions that requirements/*.in allow
	$(VENV_PYTHON) -m pip install --quiet uv
	cd requirements && for list in build run dev; do \
	  ../$(VENV_PYTHON) -m uv pip compile --quiet --upgrade --universal --fork-strategy fewest \
	    --python-version 3.10 --no-python-downloads --custom-compile-command 'make lock' \
	    $$list.in --output-file $$list.txt || exit 1; \
	done

clean: ## remove .venv and what the tools leave behind; output/ and datasets/ stay
	rm -rf $(VENV) build dist *.egg-info projects/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# bootstrap.py needs a recent Python itself, so the version is asked for here.
$(READY): $(wildcard requirements/*.txt) tools/bootstrap.py
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("Python 3.10 or newer is needed, $(PYTHON) is %d.%d: name another one, as in: make $(MAKECMDGOALS) PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) tools/bootstrap.py $(VENV)
	@touch $@

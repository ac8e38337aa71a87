# Everything below works on a fresh clone: the virtual environment is made where it is missing.
PYTHON ?= python3
SIZE ?= full
VENV ?= .venv-$(notdir $(PYTHON))
BIN := $(VENV)/bin
# requirements-extras.txt has what launchers and a tracking server need too: make test LOCK=requirements-extras.txt
LOCK ?= requirements.txt
READY := $(VENV)/.ready$(patsubst requirements%.txt,%,$(LOCK))
TESTS ?=

.DEFAULT_GOAL := help
.PHONY: help setup ablation bench test lint format lock

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make the virtual environment (PYTHON=python3.12 for another Python)

$(READY): $(LOCK)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else \
	  f"{sys.executable} is Python {v[0]}.{v[1]}; the workbench needs 3.11 to 3.13: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK)
	@touch $@

ablation: $(READY) ## the padding ablation to its verdicts
	$(BIN)/python -m workbench +experiment=padding_ablation -m

bench: $(READY) ## one training step against Keras, TensorFlow 1 and PyTorch (SIZE=quick: the goals)
	$(BIN)/python -m experiments.peers --size $(SIZE)

test: $(READY) ## every test (TESTS=tests/cells: those)
	$(BIN)/python -m pytest --numprocesses auto --dist load $(TESTS)

lint: $(READY) ## ruff, mypy, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## let ruff write
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links --no-header pyproject.toml
lock: $(READY) ## the requirements files anew from pyproject.toml, with hashes and without addresses
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) --extra dev -o requirements.txt
	$(COMPILE) --extra dev --extra joblib --extra ray --extra server --extra submitit -o requirements-extras.txt

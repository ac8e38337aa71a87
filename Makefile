# Everything below works on a fresh clone: the virtual environment is made where it is missing.
PYTHON ?= python3
SIZE ?= full
VENV ?= .venv-$(notdir $(PYTHON))
BIN := $(VENV)/bin
# requirements-extras.txt has what launchers and a tracking server need too: make test LOCK=requirements-extras.txt
LOCK ?= requirements.txt
READY := $(VENV)/.ready$(patsubst requirements%.txt,%,$(LOCK))
TESTS ?=
PART ?= 1/1

.DEFAULT_GOAL := help
.PHONY: help setup ablation bench test test-all test-gpu lint

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

# tests/conftest.py says which file is begun first
PYTEST = $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder
test: $(READY) ## the quick tests, of every idea one (TESTS=tests/cells: those)
	$(PYTEST) -m "not slow" $(TESTS)

test-all: $(READY) ## every test (PART=2/4: all quick ones, and of the slow ones the second of four parts)
	$(PYTEST) --part $(PART) $(TESTS)

TENSOR_HALF = tests/rnn tests/golden tests/cells tests/masking tests/losses tests/model
test-gpu: $(READY) ## the tensor half's quick tests with the GPU visible, without TF32; skipped where there is none
	TF_FORCE_GPU_ALLOW_GROWTH=true $(PYTEST) --gpu -m "gpu or not slow" $(or $(TESTS),$(TENSOR_HALF))

lint: $(READY) ## ruff, mypy, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

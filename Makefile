# The virtual environment of the project; PYTHON picks the interpreter that makes it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: test fuzz lint format demo train-demo bench clean

$(VENV)/.ready: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@

# Two tests at a time, each with one thread; those of the full size one after the other, since they need the memory.
test: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

# Damaged files for every reader; MINUTES for all of them together.
fuzz: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),10)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

demo: $(VENV)/.ready
	$(BIN)/python -m echomimic demo

# From nothing to assets/demo_bundle.safetensors, or from the bundle START to a better one: hours, and it goes on where it
# was interrupted. Needs espeak-ng.
train-demo: $(VENV)/.ready
	$(BIN)/python -m assets.scripts.people.train_demo $(if $(START),runs/demo_again --start $(START),runs/demo)

bench: $(VENV)/.ready
	$(BIN)/python -m benchmarks.memory

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis

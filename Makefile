# Every target works alone, on a machine with Python 3.11, make and a package index.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: demo test test-integration lint bench format clean

## Train a small network on real images and look at the versions it leaves.
demo: $(VENV)/demo.done
	KERAS_BACKEND=jax $(BIN)/python examples/digits.py

## All tests, the training ones on each framework in a process of its own.
test: $(VENV)/test.done
	$(BIN)/python tests/run_all.py

## The store on real servers (Ceph, Azurite), started on the loopback; installs them, for Ceph as root.
test-integration: $(VENV)/test.done
	tests/integration/install.sh $(BIN)/python
	$(BIN)/python -m pytest -m integration -rs tests

lint: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/test.done
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

## Ratios against the peers and against the floor of this machine.
bench: $(VENV)/bench.done
	$(BIN)/python -m benchmarks

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

$(VENV)/%.done: requirements/%.txt requirements/demo.txt requirements/test.txt requirements/no-deps.txt pyproject.toml $(VENV)/pyvenv.cfg
	$(PIP) -r requirements/$*.txt -e .
	$(if $(filter-out demo,$*),$(PIP) --no-deps -r requirements/no-deps.txt)
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache

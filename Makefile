# Every target works alone, on a machine with Python 3.11, make and a package index.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
BUILD := setup.py $(wildcard src/kept/training/snapshot/*.c)  # what an editable install compiles

.PHONY: demo test test-integration test-oldest-keras test-oldest-wandb lint bench format docs screenshots dist clean

## Train a small network on real images and look at the versions it leaves.
demo: $(VENV)/demo.done
	KERAS_BACKEND=jax $(BIN)/python examples/digits.py

## All tests; those of training on each framework, each in a separate process.
test: $(VENV)/test.done
	tests/web/install_chromium.sh
	$(BIN)/python tests/run_all.py

# The integration tests that depend on the framework.
ON_EACH := $(patsubst %,tests/training/%,resume/test_resume_across.py resume/test_resume_data.py shapes)

## Tests that take minutes or real servers on the loopback (Ceph, Azurite). Installs these; Ceph needs root.
# The last lines are the table of docs/reliability.md.
test-integration: $(VENV)/test.done
	tests/integration/install.sh $(BIN)/python
	rm -rf build/reliability
	$(BIN)/python -m pytest -m integration -rs tests
	KERAS_BACKEND=torch $(BIN)/python -m pytest -m integration $(ON_EACH)
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -m integration $(ON_EACH)
	$(BIN)/python -m tests.reliability.table

# The tests of saving, loading and resuming that depend on the framework.
SAVING := $(patsubst %,tests/training/%.py,keras_api/test_private_api save/test_models keras_api/test_formats \
	decide/test_controller save/test_folders save/test_saver resume/test_resume_across)

## Training with an older Keras, in a separate environment: the oldest supported one, or KERAS=3.12.0.
KERAS := $(shell sed -n 's/^keras==//p' requirements/oldest-keras.txt)
# The wheels of Keras before 3.15 may lack Keras's own tests of its callback.
test-oldest-keras: $(VENV)-oldest-keras/done
	$(VENV)-oldest-keras/bin/pip install --quiet --disable-pip-version-check keras==$(KERAS)
	KERAS_BACKEND=jax $(VENV)-oldest-keras/bin/python -m pytest tests/training --ignore tests/training/callbacks/test_keras_suite.py
	KERAS_BACKEND=tensorflow $(VENV)-oldest-keras/bin/python -m pytest $(SAVING)
	KERAS_BACKEND=torch $(VENV)-oldest-keras/bin/python -m pytest $(SAVING)

## Uploads to W&B with the oldest supported SDK, in a separate environment.
test-oldest-wandb: $(VENV)-oldest-wandb/done
	KERAS_BACKEND=jax $(VENV)-oldest-wandb/bin/python -m pytest tests/sync/wandb tests/exchange/test_wandb.py tests/sync/outbox/test_rejected.py tests/training/destinations/test_wandb*.py

$(VENV)-oldest-%/done: requirements/oldest-%.txt requirements/demo.txt pyproject.toml $(BUILD)
	$(PYTHON) -m venv $(VENV)-oldest-$*
	$(VENV)-oldest-$*/bin/pip install --quiet --disable-pip-version-check -r $< -e .
	touch $@

lint: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/test.done
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

## Ratios against the peers and against the limits of this machine.
bench: $(VENV)/bench.done
	$(BIN)/python -m benchmarks

## Take the pictures of the page in docs/pictures/. Look at them before you commit them.
screenshots: $(VENV)/test.done
	tests/web/install_chromium.sh
	KERAS_BACKEND=jax $(BIN)/python -m tools.screenshots

## Write docs/api.md from the docstrings.
docs: $(VENV)/test.done
	KERAS_BACKEND=jax $(BIN)/python -m tools.api_docs

# LDSHARED and --strip keep the paths of this machine's Python out of the compiled module. auditwheel needs
# --plat, because the module calls no function of the C library.
## Build and check an sdist and a wheel for a package index, in dist/. Needs Linux and a C compiler. Uploads nothing.
dist: $(VENV)-dist/done
	rm -rf dist build
	LDSHARED='$(CC) -shared' $(VENV)-dist/bin/python -m build --outdir build/dist
	PATH=$(VENV)-dist/bin:$$PATH $(VENV)-dist/bin/auditwheel repair --strip --plat manylinux_2_17_$$(uname -m) --wheel-dir dist build/dist/*.whl
	mv build/dist/*.tar.gz dist
	$(VENV)-dist/bin/twine check --strict dist/*
	$(VENV)-dist/bin/python tools/check_dist.py

$(VENV)-dist/done: requirements/dist.txt
	$(PYTHON) -m venv $(VENV)-dist
	$(VENV)-dist/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

$(VENV)/%.done: requirements/%.txt requirements/demo.txt requirements/test.txt requirements/no-deps.txt pyproject.toml $(BUILD) $(VENV)/pyvenv.cfg
	$(PIP) -r requirements/$*.txt -e .
	$(if $(filter-out demo,$*),$(PIP) --no-deps -r requirements/no-deps.txt)
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-oldest-keras $(VENV)-oldest-wandb $(VENV)-dist build dist src/*.egg-info src/kept/training/snapshot/*.so .pytest_cache .mypy_cache .ruff_cache

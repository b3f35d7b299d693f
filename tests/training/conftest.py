"""Training tests run on the framework in $KERAS_BACKEND; tests/run_all.py runs them on each."""

from __future__ import annotations

import datetime as dt
import os
import time

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

import kept
from tests.training import helpers

_ = kept.ModelCheckpoint, kept.WandbModelCheckpoint  # of Keras 3, before a test imports tf_keras

_NOW = 1_800_000_000.0  # seconds


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Each test in a folder of its own, so that the default store is one as well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KEPT_STORE", raising=False)
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)


@pytest.fixture
def frozen_clock(monkeypatch):
    """One second in which all archives are written, with the date that Keras puts into them."""

    class Frozen(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(_NOW, tz)

    monkeypatch.setattr(dt, "datetime", Frozen)
    monkeypatch.setattr(time, "time", lambda: _NOW)


@pytest.fixture
def data():
    return helpers.make_data()


@pytest.fixture(scope="session")
def rewind():
    return helpers.rewinder(helpers.make_model())


@pytest.fixture
def model(rewind):
    """The same small model for every test, as new; not for being compiled or built differently."""
    return rewind()


@pytest.fixture
def own_model():
    """A small model for one test alone."""
    return helpers.make_model()


@pytest.fixture
def store(tmp_path):
    return kept.open_store(tmp_path / "store")


@pytest.fixture
def gate(monkeypatch):
    """Holds the writer before every file until gate.open() is called."""
    gate = helpers.Gate(monkeypatch)
    yield gate
    gate.open()

"""Keras's own tests of ModelCheckpoint, with kept's in its place."""

from __future__ import annotations

import pytest
from keras.src.callbacks.model_checkpoint_test import ModelCheckpointTest  # noqa: F401

import kept


@pytest.fixture(autouse=True)
def _kept_in_its_place(monkeypatch):
    monkeypatch.setattr("keras.src.callbacks.ModelCheckpoint", kept.ModelCheckpoint)

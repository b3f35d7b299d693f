"""Loading a version runs nothing that is in it."""

from __future__ import annotations

import keras
import pytest


def test_a_whole_model_with_a_lambda_is_refused_unless_it_is_trusted(store, tmp_path):
    twice = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)])
    twice.save(tmp_path / "twice.keras")
    version = store.log_artifact("twice", tmp_path / "twice.keras")
    with pytest.raises(ValueError, match=r"safe_mode|unsafe"):
        version.load_model()
    assert len(version.load_model(safe_mode=False).layers) == 1

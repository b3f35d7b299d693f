import math
from types import SimpleNamespace

import numpy as np
import pytest

import kept
from kept.errors import InvalidCheckpoint
from kept.training.decide.best import BestTracker
from kept.training.decide.metric_mode import find_mode, monitored, saves_unmeasured
from kept.training.monitor import Metric, as_text, metrics_as_json, scalar

pytestmark = pytest.mark.any_framework


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (1, 1.0), (np.float32(0.5), 0.5), (np.array(2), 2.0), (True, 1.0),
        (None, None), ("1", None), ([1, 2], None), ({}, None), (np.zeros(2), None),
    ],
)  # fmt: skip
def test_scalars(value, found):
    assert scalar(value) == found


@pytest.mark.parametrize(
    ("value", "best", "mode", "better"),
    [
        (0.5, None, "min", True), (0.5, math.nan, "min", True), (0.4, 0.5, "min", True),
        (0.5, 0.5, "min", False), (0.6, 0.5, "min", False), (0.6, 0.5, "max", True),
        (0.5, math.inf, "min", True), (0.5, -math.inf, "max", True), (math.nan, 0.5, "min", False),
        (-math.inf, 0.5, "min", False), (math.inf, 0.5, "max", False), (None, None, "min", False),
    ],
)  # fmt: skip
def test_what_beats_the_best(value, best, mode, better):
    assert Metric("loss", mode, value).is_better_than(best) is better


@pytest.mark.parametrize(
    ("metadata", "value"),
    [
        ({"monitor": "loss", "mode": "min", "value": 0.5}, 0.5),
        ({"monitor": "acc", "mode": "min", "value": 0.5}, None),
        ({"monitor": "loss", "mode": "max", "value": 0.5}, None),
        ({"monitor": "loss", "mode": "min", "value": "nan"}, None),
        ({"monitor": "loss", "mode": "min", "value": None}, None),
        ({}, None),
    ],
)
def test_the_best_value_in_metadata(metadata, value):
    assert Metric("loss", "min").best_in(metadata) == value


def test_the_best_value_in_a_store(tmp_path):
    store, metric = kept.open_store("memory:"), Metric("loss", "min")
    assert metric.best_in_store(store, "m") is None
    file = tmp_path / "f"
    for n, value in enumerate((0.5, 0.7)):
        file.write_bytes(bytes([n]))
        metadata = {"monitor": "loss", "mode": "min", "value": value}
        store.log_artifact("m", file, aliases=["best"][n:], metadata=metadata)
    assert metric.best_in_store(store, "m") == 0.5


def test_texts():
    assert (as_text(None), as_text(0.123456)) == ("None", "0.12346")
    given = {"a": np.float32(0.5), "b": "x", "c": [1]}
    assert metrics_as_json(given) == {"a": 0.5, "b": "x", "c": [1]}


def callback(monitor="val_loss", mode="auto", save_best_only=True):
    return SimpleNamespace(monitor=monitor, mode=mode, save_best_only=save_best_only)


@pytest.mark.parametrize(
    ("monitor", "mode", "direction", "found"),
    [
        ("acc", "min", "max", "min"), ("acc", "max", None, "max"), ("loss", "auto", None, "min"),
        ("val_loss", "auto", "max", "min"), ("acc", "auto", "max", "max"),
    ],
)  # fmt: skip
def test_the_mode(monitor, mode, direction, found):
    adapter = SimpleNamespace(direction=lambda _: direction)
    assert find_mode(callback(monitor, mode), adapter) == found


def test_a_mode_that_cannot_be_found():
    adapter = SimpleNamespace(direction=lambda _: None)
    with pytest.raises(InvalidCheckpoint, match="Received: monitor='mine', mode='auto'"):
        find_mode(callback("mine"), adapter)


def test_a_missing_metric_is_warned_of_with_save_best_only():
    best = BestTracker()
    keras, legacy = SimpleNamespace(saves_unmeasured=True), SimpleNamespace(saves_unmeasured=False)
    with pytest.warns(UserWarning, match="val_loss, which is not available; saving anyway.*: loss"):
        assert saves_unmeasured(callback(), keras, best, {"loss": 1.0})
    with pytest.warns(UserWarning, match="is not a single number; nothing is saved"):
        assert not saves_unmeasured(callback(), legacy, best, {"val_loss": [1, 2]})
    with pytest.warns(UserWarning, match="val_los, which.*Did you mean 'val_loss'"):
        saves_unmeasured(callback(monitor="val_los"), keras, best, {"loss": 1, "val_loss": 1})
    best.value = 0.5
    with pytest.warns(UserWarning, match="nothing is saved"):
        assert not saves_unmeasured(callback(), keras, best, {"loss": 1.0})
    assert monitored(callback(), "min", {"val_loss": 1}) == Metric("val_loss", "min", 1.0)
    found = monitored(callback(save_best_only=False), "min", {})  # a warning would be an error
    assert found.value is None

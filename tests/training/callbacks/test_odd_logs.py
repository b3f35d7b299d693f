"""Logs of other people's callbacks may hold anything; no value of them ends a training."""

import datetime as dt
import warnings

import keras
import numpy as np
import pytest

import kept
from kept.errors import InvalidCheckpoint, SaveFailed
from kept.training.monitor import metrics_as_json
from tests.training.helpers import fit, play


class Angry:
    def __float__(self):
        raise RuntimeError("no float of mine")

    __array__ = __len__ = __float__

    def __str__(self):
        raise RuntimeError("no text of mine")


LEFT_OUT = {
    "date": dt.datetime(2024, 5, 1),
    "object": object(),
    "objects": np.array([object(), None], dtype=object),
    "angry": Angry(),
    "bytes": b"\xff",
    "surrogate": "\ud800",
    "huge": 10**5000,
    "set": {1},
    "nested": {"a": [object()]},
    "large": np.zeros(2000),
    "long": "x" * 20_000,
    ("a", "tuple"): 1.0,
    3: 1.0,
}
KEPT = {
    "text": ("a", "a"),
    "none": (None, None),
    "nan": (float("nan"), "nan"),
    "true": (True, 1.0),
    "scalar": (np.float32(0.5), 0.5),
    "tensor": (lambda: keras.ops.convert_to_tensor(0.5), 0.5),
    "vector": (np.eye(2), [[1.0, 0.0], [0.0, 1.0]]),
    "texts": (np.array(["a"]), ["a"]),
    "list": ([1, "a"], [1, "a"]),
    "dict": ({"a": 1}, {"a": 1}),
    "large int": (10**20, 1e20),
}


@pytest.mark.any_framework
@pytest.mark.filterwarnings("ignore:The metric")
@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_the_metadata_leave_out(name):
    assert metrics_as_json({"loss": 0.5, name: LEFT_OUT[name]}) == {"loss": 0.5}


@pytest.mark.any_framework
@pytest.mark.parametrize("name", KEPT)
def test_what_the_metadata_hold(name):
    value, stored = KEPT[name]
    assert metrics_as_json({name: value() if callable(value) else value}) == {name: stored}


@pytest.mark.any_framework
def test_a_metric_is_named_once():
    logs = {"named once": dt.date(2024, 5, 1)}
    with pytest.warns(UserWarning, match="metric 'named once' .* a date is no number"):
        metrics_as_json(logs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics_as_json(logs)


@pytest.mark.filterwarnings("ignore:The metric")
def test_a_fit_with_all_of_them(model, capsys):
    callback = kept.ModelCheckpoint("m-{epoch}-{val_loss:.1f}.keras", name="m")
    texts = {name: odd for name, odd in LEFT_OUT.items() if isinstance(name, str)}
    odd = {**texts, "val_loss": 0.5, "text": "a"}
    play([keras.callbacks.History(), callback], [odd, odd], model=model)
    assert [v.metadata["metrics"] for v in callback.versions] == [
        {"val_loss": 0.5, "text": "a"}
    ] * 2


class Notes(keras.callbacks.Callback):
    """Writes an odd value into the logs, and has a state that cannot be written."""

    def __init__(self, state):
        super().__init__()
        self.state = state

    def on_epoch_end(self, epoch, logs=None):
        logs["note"] = dt.date(2024, 5, 1)

    def get_state(self):
        return self.state()

    def set_state(self, state):
        raise AssertionError("no version holds it")


def broken():
    raise KeyError("not begun")


@pytest.mark.any_framework
@pytest.mark.filterwarnings("ignore:The metric")
@pytest.mark.parametrize("state", [lambda: {"lock": object()}, broken])
def test_a_state_that_cannot_be_written_is_left_out(model, data, state, capsys):
    for _ in range(2):
        fit(model, data, Notes(state), kept.ModelCheckpoint("m.keras", name="m"))
    assert len(kept.open_store().versions("m")) == 2
    out = capsys.readouterr().out
    assert out.count("versions do not hold the state of Notes") <= 1
    resumed = kept.ModelCheckpoint("m.keras", name="m", resume=True)
    history = fit(model, data, resumed, epochs=2)
    assert len(history.history["loss"]) == 2  # the history of what could be kept is resumed


@pytest.mark.any_framework
def test_with_resume_it_is_an_error(model, data):
    callback = kept.ModelCheckpoint("m.keras", name="m", resume=True)
    with pytest.raises((InvalidCheckpoint, SaveFailed), match="state of Notes"):
        fit(model, data, Notes(lambda: {"lock": object()}), callback)


@pytest.mark.any_framework
def test_aliases_of_versions_are_those_of_now(model, store):
    callback = kept.ModelCheckpoint("m-{epoch}.keras", name="m", store=store)
    play([callback], [{"val_loss": 0.5}, {"val_loss": 0.4}], model=model)
    assert [v.aliases for v in callback.versions] == [("epoch_0",), ("latest", "best", "epoch_1")]
    store.set_alias("m:v0", "production")
    assert callback.versions[0].aliases == ("epoch_0", "production")
    assert callback.versions[0].is_new
    assert callback.versions[0].bytes_new
    store.delete("m:v0", force=True)
    assert [v.index for v in callback.versions] == [0, 1]

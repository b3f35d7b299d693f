"""The moment of a save, and what is printed of it."""

import numpy as np
import pytest

from kept.errors import SaveFailed
from kept.training.decide.moment import Moment
from kept.training.decide.report import not_saved, save_begins, save_ended
from kept.training.monitor import Metric
from kept.training.request import Improvement, SaveRequest, SaveResult

pytestmark = pytest.mark.any_framework
EPOCH = Moment(2, None, {"loss": np.float32(0.5), "note": "text", "many": [1, 2]})
LOSS = Metric("loss", "min", 0.5)
REQUEST = SaveRequest(
    model=None, artifact="m", path="m.keras", target="/m.keras",
    aliases=("epoch_2", "mine", "best"), metadata={"a": 1}, label="Epoch 3", started=0.0,
)  # fmt: skip


def test_names_of_a_moment():
    assert (EPOCH.label, EPOCH.alias) == ("Epoch 3", "epoch_2")
    assert (Moment(0, 9, {}).label, Moment(0, 9, {}).alias) == ("Epoch 1", "epoch_0_batch_9")


def test_metadata_of_a_moment():
    assert EPOCH.metadata(40, LOSS) == {
        "epoch": 2, "batch": None, "step": 40, "monitor": "loss", "mode": "min", "value": 0.5,
        "metrics": {"loss": 0.5, "note": "text", "many": [1, 2]},
    }  # fmt: skip


def test_messages_before_a_save():
    assert not_saved(EPOCH, LOSS, 0.25) == "Epoch 3: loss did not improve from 0.25000"
    assert save_begins(EPOCH, LOSS, None, "m.keras") == "Epoch 3: saving model to m.keras"
    improved = save_begins(EPOCH, LOSS, Improvement(0.5, None), "m.keras")
    assert improved == "Epoch 3: loss improved from None to 0.50000, saving model to m.keras"


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"committed": True, "name": "m:v3"}, "Epoch 3: finished saving model to m.keras (m:v3)"),
        (
            {"committed": True, "name": "m:v3", "superseded": True},
            "Epoch 3: finished saving m:v3; the next save is for m.keras",
        ),
        ({"dropped": True}, "Epoch 3: skipped, two are still being written"),
        ({}, None),
        ({"error": SaveFailed("no")}, None),
        ({"committed": True, "error": SaveFailed("no")}, None),
    ],
)
def test_messages_after_a_save(result, message):
    assert save_ended(SaveResult(REQUEST, **result)) == message


def test_requests_are_values():
    more = REQUEST.with_metadata({"b": 2})
    assert (REQUEST.metadata, more.metadata) == ({"a": 1}, {"a": 1, "b": 2})
    with pytest.raises(AttributeError):
        REQUEST.path = "other.keras"

"""A state is captured on the training thread, written from a snapshot, and read as it was."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from kept.errors import CannotResume, Damaged, InvalidCheckpoint
from kept.training.data.running_fit import Fit
from kept.training.resume.callback_state import check_state_of
from kept.training.resume.read_state import read_state
from kept.training.resume.state import ARRAYS_FILE, JSON_FILE, Recorder
from kept.training.resume.write_state import write_state
from kept.training.snapshot.metadata import optimizer_metadata, variables_metadata
from kept.training.snapshot.snapshot import Snapshot
from kept.training.snapshot.variables import metrics_of, seeds_of, variables_of
from tests.training.data.fake_fit import fit_of


class Counter(keras.callbacks.Callback):
    """A callback with a state."""

    def __init__(self, count=0):
        super().__init__()
        self.count = count

    def get_state(self):
        return {"count": self.count}

    def set_state(self, state):
        self.count = state["count"]


class Bad(Counter):
    """A callback whose state cannot be written."""

    def get_state(self):
        return {"what": object()}


@pytest.fixture
def model():
    layers = [keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(2)]
    made = keras.Sequential(layers, name="m")
    made.compile(keras.optimizers.Adam(name="adam"), "mse", metrics=["mae"])
    made.optimizer.build(made.trainable_variables)
    x = np.ones((4, 3), "float32")
    made.evaluate(x, np.ones((4, 2), "float32"), verbose=0)  # which builds the metrics
    return made


@pytest.fixture
def owner(model):
    """The callback that saves."""
    found = Counter(1)
    found.set_model(model)
    return found


def recorder_of(owner, *callbacks, state_of=None, fit=None):
    found = Recorder(owner, state_of)
    given = fit or fit_of("ArrayDataAdapter", batch_size=8, epochs={"num_batches": 5})
    found.begin(Fit(tuple(callbacks), given.epochs), None)
    return found


def value(variable):
    return np.array(keras.ops.convert_to_numpy(variable))


class TestCapture:
    def test_after_an_epoch(self, owner):
        before, after = Counter(2), keras.callbacks.History()
        recorder = recorder_of(owner, before, owner, after)
        recorder.epoch_begin(3)
        logs = {"loss": 0.5}
        state = recorder.capture(3, None, logs)
        logs["loss"] = 1.0
        assert (state.epoch, state.batch, state.logs) == (3, None, {"loss": 0.5})
        assert state.random_at_epoch is None
        assert list(state.callbacks) == ["Counter", "Counter 2", "History"]
        assert state.callbacks["Counter"] == {"count": 2}
        assert state.unfinished == ["History"], "it is called after the owner"
        assert not state.stopped
        assert state.data["batches"] == 5
        assert state.first_epoch == 3, "the data began with the first epoch of the fit"

    def test_within_an_epoch(self, owner):
        recorder = recorder_of(owner, owner)
        recorder.epoch_begin(0)
        np.random.random()
        state = recorder.capture(0, 2, {})
        assert state.batch == 2
        assert state.random_at_epoch["numpy"][2] != state.random["numpy"][2]

    def test_the_data_s_own_state_is_that_of_the_epoch_s_start_within_it(self, owner):
        class Data:
            state = "start"

            def get_state(self):
                return self.state

            def set_state(self, state):
                pass

        data = Data()
        recorder = recorder_of(owner, owner, fit=fit_of("PyDatasetAdapter", py_dataset=data))
        recorder.epoch_begin(0)
        data.state = "end"
        assert recorder.capture(0, 2, {}).data["own"] == {"dataset": "start"}
        assert recorder.capture(0, None, {}).data["own"] == {"dataset": "end"}

    def test_a_stopped_training(self, owner):
        owner.model.stop_training = True
        assert recorder_of(owner, owner).capture(0, None, {}).stopped

    def test_data_that_began_earlier(self, owner):
        recorder = recorder_of(owner, owner)
        recorder.begin(Fit(), 2)
        recorder.epoch_begin(4)
        assert recorder.capture(4, None, {}).first_epoch == 2

    def test_only_chosen_callbacks_and_the_owner(self, owner):
        chosen, other = Counter(5), keras.callbacks.EarlyStopping()
        recorder = recorder_of(owner, other, chosen, owner, state_of=[chosen])
        assert list(recorder.callbacks.values()) == [chosen, owner]

    def test_an_unknown_order_leaves_the_history_for_last(self, owner):
        owner.model.history = keras.callbacks.History()
        state = recorder_of(owner).capture(0, None, {})
        assert list(state.callbacks) == ["Counter", "History"]
        assert state.unfinished == ["History"]


class TestMissing:
    def test_callbacks_of_the_saved_run_are_named(self, owner):
        saved = recorder_of(owner, keras.callbacks.EarlyStopping(), owner).capture(0, None, {})
        assert recorder_of(owner, owner).missing(saved) == ["EarlyStopping"]

    def test_those_that_only_save_are_not(self, owner):
        saved = recorder_of(owner, keras.callbacks.ModelCheckpoint("m.keras"), owner)
        assert recorder_of(owner, owner).missing(saved.capture(0, None, {})) == []

    def test_with_state_of_the_user_has_chosen(self, owner):
        saved = recorder_of(owner, keras.callbacks.EarlyStopping(), owner).capture(0, None, {})
        assert recorder_of(owner, owner, state_of=[]).missing(saved) == []


@pytest.mark.any_framework
def test_state_of_takes_callbacks_with_a_state():
    chosen = Counter()
    assert check_state_of([chosen]) == [chosen]
    with pytest.raises(InvalidCheckpoint, match="Received: Callback"):
        check_state_of([keras.callbacks.Callback()])


class TestFiles:
    def test_they_are_read_as_they_were_written(self, owner, model, tmp_path):
        recorder = recorder_of(owner, owner, keras.callbacks.History())
        recorder.epoch_begin(1)
        state = recorder.capture(1, 3, {"loss": np.float32(0.5), "unknown": object()})
        paths = write_state(state, model, str(tmp_path), None)
        assert paths == [str(tmp_path / JSON_FILE), str(tmp_path / ARRAYS_FILE)]
        found = read_state(tmp_path)
        assert (found.epoch, found.batch, found.first_epoch) == (1, 3, 1)
        assert found.logs == {"loss": np.float32(0.5)}, "others cannot be written"
        assert found.callbacks["Counter"] == {"count": 1}
        assert found.unfinished == state.unfinished
        assert found.model == variables_metadata(model.weights)
        assert found.optimizer == optimizer_metadata(model)
        assert found.framework == keras.backend.backend()
        np.testing.assert_array_equal(found.random["numpy"][1], state.random["numpy"][1])
        assert len(found.seeds) == len(seeds_of(model)) == 1
        assert len(found.metrics) == len(metrics_of(model)) > 0

    def test_metrics_are_those_of_an_unfinished_epoch_only(self, owner, model, tmp_path):
        state = recorder_of(owner, owner).capture(1, None, {})
        write_state(state, model, str(tmp_path), None)
        assert read_state(tmp_path).metrics == []

    def test_values_are_the_snapshot_s(self, owner, model, tmp_path):
        state = recorder_of(owner, owner).capture(0, 1, {})
        snapshot = Snapshot(keras.backend.backend())
        snapshot.take(variables_of(model))
        (seed,), metric = seeds_of(model), metrics_of(model)[0]
        before = value(seed), value(metric)
        for variable in (seed, metric):
            variable.assign(value(variable) + 1)
        write_state(state, model, str(tmp_path), snapshot)
        found = read_state(tmp_path)
        np.testing.assert_array_equal(found.seeds[0], before[0])
        np.testing.assert_array_equal(found.metrics[0], before[1])

    def test_values_that_the_snapshot_lacks_are_the_model_s(self, owner, model, tmp_path):
        state = recorder_of(owner, owner).capture(0, 1, {})
        snapshot = Snapshot(keras.backend.backend())
        snapshot.take(model.weights)
        write_state(state, model, str(tmp_path), snapshot)
        np.testing.assert_array_equal(read_state(tmp_path).seeds[0], value(seeds_of(model)[0]))

    def test_a_state_that_cannot_be_written_is_named(self, owner, model, tmp_path):
        recorder = recorder_of(owner, Bad(), owner)
        recorder.is_required = True  # the user has asked to resume
        state = recorder.capture(0, None, {})
        with pytest.raises(InvalidCheckpoint, match="cannot write the state of Bad"):
            write_state(state, model, str(tmp_path), None)


@pytest.mark.any_framework
class TestReading:
    @pytest.fixture
    def folder(self, owner, model, tmp_path):
        write_state(recorder_of(owner, owner).capture(0, None, {}), model, str(tmp_path), None)
        return tmp_path

    def change(self, folder, **changes):
        content = json.loads((folder / JSON_FILE).read_text()) | changes
        (folder / JSON_FILE).write_text(json.dumps(content))

    def test_a_version_without_one(self, tmp_path):
        assert read_state(tmp_path) is None

    def test_one_of_a_newer_kept(self, folder):
        self.change(folder, format=2)
        with pytest.raises(CannotResume, match="has format 2; this kept reads format 1"):
            read_state(folder)

    def test_fields_of_the_future_are_left_out(self, folder):
        self.change(folder, future=1)
        assert read_state(folder).epoch == 0

    def test_one_of_the_first_versions_of_kept(self, folder):
        content = json.loads((folder / JSON_FILE).read_text())
        del content["data"]
        (folder / JSON_FILE).write_text(json.dumps(content))
        found = read_state(folder)
        assert found.data == {}
        assert found.first_epoch == 0

    @pytest.mark.parametrize(
        "text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "format": 1}']
    )
    def test_a_text_that_is_no_state(self, folder, text):
        (folder / JSON_FILE).write_text(text)
        with pytest.raises(Damaged, match=JSON_FILE):
            read_state(folder)

    @pytest.mark.parametrize("wrong", [7, [7], [[0, "a"]], [[0, 1, 2]], [[10**6, None]], {}])
    def test_weights_that_are_no_pairs_of_index_and_array(self, folder, wrong):
        content = json.loads((folder / JSON_FILE).read_text())
        (folder / JSON_FILE).write_text(json.dumps(content | {"unlike_file": wrong}))
        with pytest.raises(Damaged, match=JSON_FILE):
            read_state(folder)

    @pytest.mark.parametrize("wrong", [-1, 1.5, True, None, "a"])
    def test_a_number_of_fits_that_is_none(self, folder, wrong):
        content = json.loads((folder / JSON_FILE).read_text())
        (folder / JSON_FILE).write_text(json.dumps(content | {"fit": wrong}))
        with pytest.raises(Damaged, match=JSON_FILE):
            read_state(folder)

    def test_a_name_that_occurs_twice(self, folder):
        text = (folder / JSON_FILE).read_text()
        (folder / JSON_FILE).write_text(text[:-1] + ', "epoch": 7}')
        with pytest.raises(Damaged, match="occurs twice"):
            read_state(folder)

    def test_missing_arrays(self, folder):
        (folder / ARRAYS_FILE).unlink()
        with pytest.raises(Damaged):
            read_state(folder)


@pytest.mark.any_framework
def test_a_model_without_optimizer_has_no_metadata_of_one():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="out")])
    assert optimizer_metadata(model) == []
    path, shape, dtype = variables_metadata(model.weights)[0]
    assert path.endswith("out/kernel")
    assert (shape, dtype) == ([3, 2], "float32")

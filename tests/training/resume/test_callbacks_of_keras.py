"""The table of callback states knows every callback of Keras, and all of its state."""

import ast
import inspect
import shutil

import keras
import numpy as np
import pytest

from kept.training.resume import callback_state
from tests.training.helpers import Stop, Stopped, fit
from tests.training.resume.test_resume import checkpoint

STATELESS = {
    # Each has nothing that changes the training, or only what the user gave it.
    *("Callback", "CallbackList", "LambdaCallback", "LearningRateScheduler", "ProgbarLogger"),
    *("RemoteMonitor", "TerminateOnNaN", "MonitorCallback"),
}
# What a hook sets before it reads it, so that it is nothing of an earlier fit; and times.
SET_AGAIN = {
    "EarlyStopping": {"monitor_op", "min_delta"},
    "ReduceLROnPlateau": {"monitor_op", "mode"},
    "ModelCheckpoint": {"monitor_op", "_current_epoch"},
    "CSVLogger": {"csv_file", "writer", "append_header"},
    "ProgbarLogger": {"seen", "progbar", "target", "epochs", "_called_in_fit"},
    "LambdaCallback": {"on_epoch_begin", "on_epoch_end", "on_train_begin", "on_train_end"},
    "OrbaxCheckpoint": {"_async_futures", "_current_epoch", "checkpointer", "monitor_op"},
    "TensorBoard": {
        *("_batch_start_time", "_batch_trace_context", "_epoch_start_time", "_is_tracing"),
        "_profiler_started",
        *("_train_accumulated_time", "_previous_epoch_iterations", "_prev_summary_state"),
        *("_should_trace", "_start_batch", "_stop_batch", "_should_write_train_graph"),
        *("_writers", "_summary_module", "_train_dir", "_val_dir", "_log_write_dir", "log_dir"),
    },
    "BackupAndRestore": {"double_checkpoint"},
}
SHIPPED = sorted(name for name in dir(keras.callbacks) if name[0].isupper())


def known_of(name):
    return set(callback_state._BY_NAME.get(name, ())) | ({"keys"} if name == "CSVLogger" else set())


def set_in_hooks(kind):
    """The attributes that a class sets anywhere except in its constructor and set_model."""
    [node] = ast.parse(inspect.getsource(kind)).body
    methods = [one for one in node.body if isinstance(one, ast.FunctionDef)]
    hooks = [one for one in methods if one.name not in ("__init__", "set_model", "set_params")]
    return {
        one.attr
        for hook in hooks
        for one in ast.walk(hook)
        if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store)
        if isinstance(one.value, ast.Name) and one.value.id == "self"
    }


def test_every_callback_of_keras_is_known():
    assert set(SHIPPED) <= set(callback_state._BY_NAME) | STATELESS
    assert not set(callback_state._BY_NAME) & STATELESS


@pytest.mark.any_framework
@pytest.mark.parametrize("name", SHIPPED)
def test_what_hooks_set_is_in_the_table(name):
    if name in ("Callback", "CallbackList"):
        return
    found = set_in_hooks(getattr(keras.callbacks, name))
    assert found <= known_of(name) | SET_AGAIN.get(name, set())


def test_their_states_continue(rewind, data):
    def train(*more):
        theirs = [
            keras.callbacks.BackupAndRestore("backup", save_freq=3, delete_checkpoint=True),
            keras.callbacks.ModelCheckpoint("{epoch}.weights.h5", "loss", save_weights_only=True,
                                            save_freq=3),
            keras.callbacks.EarlyStopping("loss", patience=9),
            keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=10.0),
        ]  # fmt: skip
        seen = Last(theirs)
        fit(rewind(), data, *theirs[1:], *more[:1], theirs[0], seen, *more[1:], epochs=3)
        return seen.states

    train()  # the first fit builds things, which draws random numbers
    straight = train()
    with pytest.raises(Stopped):
        train(checkpoint(save_freq=2), Stop(7))
    shutil.rmtree("backup")
    resumed = train(checkpoint(save_freq=2, resume=True))
    assert resumed == straight


class Last(keras.callbacks.Callback):
    """Notes the states of callbacks before the end of a fit."""

    def __init__(self, callbacks):
        super().__init__()
        self.callbacks, self.states = callbacks, None

    def on_epoch_end(self, epoch, logs=None):
        self.states = [callback_state.get_state(one) for one in self.callbacks]
        for state in self.states:
            for name, value in state.items():
                state[name] = float(value) if isinstance(value, np.generic) else value


@pytest.mark.any_framework
def test_the_step_of_tensorboard_is_a_state():
    one, other = (keras.callbacks.TensorBoard("logs") for _ in range(2))
    one._global_train_batch = 7
    callback_state.set_state(other, callback_state.get_state(one))
    assert other._global_train_batch == 7


@pytest.mark.any_framework
@pytest.mark.skipif(not hasattr(keras.callbacks, "OrbaxCheckpoint"), reason="an older Keras")
def test_the_counters_of_orbax_are_a_state(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    one, other = (keras.callbacks.OrbaxCheckpoint(str(tmp_path / n)) for n in "ab")
    one._total_batches_seen, one.best = 7, 0.5
    callback_state.set_state(other, callback_state.get_state(one))
    assert (other._total_batches_seen, other.best) == (7, 0.5)


@pytest.mark.any_framework
@pytest.mark.parametrize("name", ["TensorBoard", "BackupAndRestore 2", "OrbaxCheckpoint"])
def test_a_resumed_fit_may_lack_those_that_write_files(name):
    assert callback_state.only_saves(name)

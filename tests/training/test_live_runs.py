"""A running fit is shown to other programs, and no longer when it ends, however that is."""

import keras
import pytest
from IPython.core.interactiveshell import InteractiveShell

import kept
from kept.sync.live import live_runs
from tests.training.helpers import fit, losses, make_data, play

FRAMEWORK = keras.backend.backend()


class Looks(keras.callbacks.Callback):
    """Notes the live runs at the end of each epoch, and of the first batch."""

    def __init__(self, location):
        super().__init__()
        self._location = location
        self.first_batch, self.epochs = [], []

    def on_train_batch_end(self, batch, logs=None):
        if not self.first_batch:
            self.first_batch = live_runs(self._location)

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += live_runs(self._location)


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))


@pytest.fixture
def callback(tmp_path):
    return kept.ModelCheckpoint("m.keras", store=tmp_path / "store", name="m")


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """What runs the cells of a notebook, in this process."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    shell = InteractiveShell.instance()
    yield shell
    shell.restore_sys_module_state()
    InteractiveShell.clear_instance()


def test_a_fit_is_live(model, data, callback):
    looks = Looks(callback.store.location)
    fit(model, data, callback, looks, epochs=3)
    (begun,) = looks.first_batch
    assert (begun.artifact, begun.epoch, begun.epochs) == ("m", 1, 3)
    assert begun.framework == FRAMEWORK
    assert [(run.epoch, run.step) for run in looks.epochs] == [(1, 4), (2, 8), (3, 12)]
    assert looks.epochs[0].metrics.keys() >= {"loss", "accuracy"}
    assert live_runs(callback.store.location) == []


def test_a_fit_that_fails_is_not_live(model, data, callback):
    class Fails(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fit(model, data, callback, Fails())
    assert live_runs(callback.store.location) == []


def test_a_fit_that_fails_in_a_notebook_is_not_live_after_its_cell(model, data, callback, shell):
    class Fails(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    shell.push({"train": lambda: fit(model, data, callback, Fails())})
    events = [len(found) for found in shell.events.callbacks.values()]
    held = shell.run_cell("train()").error_in_exec
    assert isinstance(held, KeyboardInterrupt)  # its frames hold the fit
    assert live_runs(callback.store.location) == []
    assert [len(found) for found in shell.events.callbacks.values()] == events


def test_a_loop_of_hooks_is_live_until_its_end(model, callback):
    looks = Looks(callback.store.location)
    play([callback, looks], losses(0.5, 0.4), model=model)
    assert [(run.epoch, run.epochs) for run in looks.epochs] == [(1, 2), (2, 2)]
    assert looks.epochs[1].metrics == {"val_loss": 0.4}
    assert live_runs(callback.store.location) == []


def test_two_callbacks_of_a_fit_are_two_runs(model, data, tmp_path):
    store = kept.open_store(tmp_path / "store")
    callbacks = [kept.ModelCheckpoint(f"{n}.keras", store=store, name=n) for n in ("a", "b")]
    looks = Looks(store.location)
    fit(model, data, *callbacks, looks)
    assert [run.artifact for run in looks.epochs] == ["a", "b"]


def test_a_home_that_cannot_be_written_harms_no_fit(model, data, callback, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    fit(model, data, callback, epochs=2)
    assert len(callback.versions) == 2


def test_a_fit_after_a_fit_that_failed_is_live(model, callback):
    data = make_data()
    looks = Looks(callback.store.location)

    class Fails(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no") as failed:
        fit(model, data, callback, Fails())
    if FRAMEWORK == "jax":
        model.jax_state_sync()
    fit(model, data, callback, looks)
    assert [run.artifact for run in looks.epochs] == ["m"]
    assert failed  # its frames hold the first fit until now

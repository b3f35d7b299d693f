"""The behaviours that tf_keras's own tests of ModelCheckpoint and BackupAndRestore ask for.

The package of tf_keras has no tests in it. What kept does in another way is in docs/howto.md.
"""

from __future__ import annotations

import os
from pathlib import Path

import keras
import numpy as np
import pytest

import kept
from kept.errors import InvalidCheckpoint

if keras.backend.backend() != "tensorflow":
    pytest.skip("tf_keras is TensorFlow's", allow_module_level=True)

import tensorflow as tf
import tf_keras

X, Y = np.ones((10, 3), "float32"), np.eye(2, dtype="float32")[[0, 1] * 5]
ModelCheckpoint = kept.tf_keras.ModelCheckpoint


def layers():
    dense = tf_keras.layers.Dense
    return [dense(4, activation="relu"), dense(2, activation="softmax")]


def functional():
    inputs = tf_keras.Input((3,))
    outputs = inputs
    for layer in layers():
        outputs = layer(outputs)
    return tf_keras.Model(inputs, outputs)


class Subclassed(tf_keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.second = layers()

    def call(self, inputs):
        return self.second(self.first(inputs))


MODELS = {
    "sequential": lambda: tf_keras.Sequential([tf_keras.Input((3,)), *layers()]),
    "functional": functional,
    "subclassed": Subclassed,
}


def compiled(kind="sequential", **options):
    model = MODELS[kind]()
    options = {"run_eagerly": True} | options  # compiling takes longer than these fits
    model.compile("rmsprop", "categorical_crossentropy", metrics=["acc"], **options)
    return model


@pytest.fixture
def model():
    return compiled()


def fit(model, callback, *more, epochs=1, batch_size=5, **options):
    options = {"validation_data": (X, Y), "verbose": 0} | options
    callbacks = [callback, *more]
    model.fit(X, Y, epochs=epochs, batch_size=batch_size, callbacks=callbacks, **options)


def written(pattern="*"):
    return sorted(path.name for path in Path().glob(pattern))


class TestWhatIsSaved:
    @pytest.mark.parametrize("kind", ["sequential", "functional"])
    @pytest.mark.parametrize("ending", [".h5", ".keras"])
    def test_a_file_in_a_new_folder(self, kind, ending):
        fit(compiled(kind), ModelCheckpoint(f"sub/m{ending}"))
        assert written("sub/*") == [f"m{ending}"]
        assert tf_keras.models.load_model(f"sub/m{ending}").predict(X, verbose=0).shape == (10, 2)

    @pytest.mark.parametrize("filepath", ["m", "m.keras"])
    def test_a_subclassed_model(self, filepath):
        fit(compiled("subclassed"), ModelCheckpoint(filepath))
        assert Path("m/saved_model.pb" if filepath == "m" else filepath).is_file()

    @pytest.mark.parametrize("options", [{"mode": "min"}, {"monitor": "val_acc", "mode": "max"}])
    def test_best_only(self, model, options):
        for best_only in (False, True):
            fit(model, ModelCheckpoint(f"m{best_only}.h5", save_best_only=best_only, **options))
        assert written("*.h5") == ["mFalse.h5", "mTrue.h5"]

    def test_best_only_without_its_metric_saves_nothing(self, model):
        with pytest.warns(UserWarning, match="unknown"):
            fit(model, ModelCheckpoint("m.h5", monitor="unknown", save_best_only=True))
        assert written("*.h5") == []

    @pytest.mark.parametrize(
        ("monitor", "mode", "threshold", "saves"),
        [
            ("val_acc", "max", -1.0, True),
            ("val_loss", "auto", None, True),
            ("val_loss", "min", 0, False),
            ("val_loss", "auto", 0, False),
        ],
    )
    def test_the_value_to_beat(self, model, monitor, mode, threshold, saves):
        options = {"save_best_only": True, "initial_value_threshold": threshold}
        fit(model, ModelCheckpoint("m.h5", monitor, mode=mode, **options))
        assert os.path.exists("m.h5") == saves

    def test_an_unknown_mode_is_auto(self, model):
        callback = ModelCheckpoint("m.h5", mode="unknown", save_best_only=True)
        fit(model, callback)
        assert callback.versions[0].metadata["mode"] == "min"

    def test_a_file_that_exists_is_replaced(self, model):
        callback = ModelCheckpoint("m{epoch}.h5", save_weights_only=True)
        fit(model, callback)
        before = Path("m1.h5").read_bytes()
        fit(model, ModelCheckpoint("m{epoch}.h5", save_weights_only=True))
        assert Path("m1.h5").read_bytes() != before

    def test_in_a_cluster_of_one(self, model, monkeypatch):
        cluster = '{"cluster": {"worker": ["localhost:23333"]}, "task": {"type": "worker", '
        monkeypatch.setenv("TF_CONFIG", cluster + '"index": 0}}')
        fit(model, ModelCheckpoint("m.h5"))
        assert written("*.h5") == ["m.h5"]


class TestWhenItSaves:
    def test_period(self, model):
        fit(model, ModelCheckpoint("m{epoch:02d}.h5", period=2), epochs=4)
        assert written("*.h5") == ["m02.h5", "m04.h5"]

    def test_the_count_of_epochs_is_an_attribute(self, model):
        callback = ModelCheckpoint("m{epoch}.weights.h5", save_weights_only=True, period=3)
        callback.epochs_since_last_save = 2
        fit(model, callback, epochs=2, validation_data=None)
        assert written("*.h5") == ["m1.weights.h5"]
        assert callback.epochs_since_last_save == 1

    def test_a_number_of_batches_and_period_is_ignored(self, model):
        callback = ModelCheckpoint("m{epoch}.h5", save_freq=3, period=100)
        fit(model, callback, epochs=6, validation_data=None)
        assert written("*.h5") == ["m2.h5", "m3.h5", "m5.h5", "m6.h5"]

    def test_batch_in_the_name(self, model):
        fit(model, ModelCheckpoint("m{epoch}-{batch:02d}.keras", save_freq=1), epochs=2)
        names = [f"m{epoch}-{batch:02d}.keras" for epoch in (1, 2) for batch in (1, 2)]
        assert written("*.keras") == names

    @pytest.mark.parametrize("steps", [None, 7])
    @pytest.mark.parametrize(
        ("batches", "save_freq", "expected"),
        [
            (7, 7, ["1_7", "2_7"]),
            (7, 14, ["2_7"]),
            (14, 7, ["1_14", "1_7", "2_14", "2_7"]),
        ],
    )
    def test_several_steps_in_one_call(self, steps, batches, save_freq, expected):
        model = compiled(steps_per_execution=steps, run_eagerly=False)
        callback = ModelCheckpoint("w/{epoch}_{batch}", save_freq=save_freq, save_weights_only=True)
        x, y = np.ones((batches, 3)), np.ones((batches, 2))
        model.fit(x, y, batch_size=1, epochs=2, verbose=0, callbacks=[callback])
        assert written("w/*.index") == [f"{name}.index" for name in expected]

    @pytest.mark.parametrize("save_freq", ["invalid", 1.5])
    def test_an_unknown_save_freq(self, save_freq):
        with pytest.raises(ValueError, match="Unrecognized save_freq"):
            ModelCheckpoint("m.h5", save_freq=save_freq)

    def test_logs_are_not_read_before_a_save(self):
        class Unread:
            def __float__(self):
                raise AssertionError

        callback = ModelCheckpoint("m", save_freq=100)
        model = tf_keras.Sequential([tf_keras.layers.Dense(1)])
        hooks = tf_keras.callbacks.CallbackList([callback], model=model, epochs=1, steps=10)
        logs = {"metric": Unread()}
        hooks.on_train_begin(logs)
        hooks.on_epoch_begin(0, logs)
        hooks.on_train_batch_begin(0, logs)
        hooks.on_train_batch_end(0, logs)
        hooks.on_epoch_end(0, logs)
        hooks.on_train_end(logs)
        assert callback._supports_tf_logs

    def test_a_loop_that_the_user_wrote(self, model):
        callback = ModelCheckpoint("m{epoch}.h5", name="m", save_best_only=True)
        callback.set_model(model)
        for epoch, loss in enumerate((0.5, 0.6, 0.4)):
            callback.on_epoch_end(epoch, {"val_loss": tf.constant(loss)})
        callback.close()
        assert written("*.h5") == ["m1.h5", "m3.h5"]


class TestOptions:
    @pytest.mark.parametrize("ending", [".h5", ""])
    def test_each_kind_of_checkpoint_has_its_own(self, ending):
        weights, whole = tf.train.CheckpointOptions(), tf.saved_model.SaveOptions()
        ModelCheckpoint(f"m{ending}", save_weights_only=True, options=weights)
        ModelCheckpoint(f"m{ending}", options=whole)
        with pytest.raises(TypeError, match=r"tf\.train\.CheckpointOptions"):
            ModelCheckpoint(f"m{ending}", save_weights_only=True, options=whole)
        with pytest.raises(TypeError, match=r"tf\.saved_model\.SaveOptions"):
            ModelCheckpoint(f"m{ending}", options=weights)

    def test_a_file_with_options_is_what_it_is_without(self, model):
        options = tf.train.CheckpointOptions()
        fit(model, ModelCheckpoint("m.h5", save_weights_only=True, options=options))
        model.load_weights("m.h5")

    def test_the_keras_format_has_none(self):
        with pytest.raises(ValueError, match="takes no options"):
            ModelCheckpoint("m.keras", options=tf.saved_model.SaveOptions())


class TestErrors:
    def test_a_folder_at_the_name_of_a_file(self):
        """tf_keras raises it at the first save."""
        os.mkdir("m.h5")
        with pytest.raises(InvalidCheckpoint, match="it is a folder; name a file in it"):
            ModelCheckpoint("m.h5")

    def test_a_placeholder_that_no_log_has(self, model):
        """tf_keras raises a KeyError."""
        with pytest.raises(InvalidCheckpoint, match="mape"):
            fit(model, ModelCheckpoint("m{epoch:02d}_{mape:.2f}.h5"))


class TestRestart:
    """load_weights_on_restart=True loads the newest file before the first epoch."""

    @pytest.mark.parametrize("weights_only", [True, False])
    @pytest.mark.parametrize("loads", [True, False])
    def test_from_the_newest_file(self, model, weights_only, loads):
        options = {"save_weights_only": weights_only}
        fit(model, ModelCheckpoint("sub/m{epoch}.h5", **options), epochs=2)
        os.utime("sub/m1.h5", (1e9, 1e9))
        saved = model.get_weights()
        fit(model, ModelCheckpoint("other.h5"))
        after = model.get_weights()
        callback = ModelCheckpoint("sub/m{epoch}.h5", load_weights_on_restart=loads, **options)
        begins = []
        note = tf_keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: begins.append(model.get_weights())
        )
        fit(model, callback, note)
        for found, expected in zip(begins[0], saved if loads else after, strict=True):
            np.testing.assert_array_equal(found, expected)

    NAMES = ("f.batch03epoch02.h5", "f.batch02epoch02.h5", "f.batch01epoch01.h5")

    @pytest.mark.parametrize(
        ("names", "newest"),
        [
            (NAMES, NAMES[2]),
            ((*NAMES[:2], "f.baatch01epoch01.h5"), NAMES[1]),
            ((), None),
        ],
    )
    def test_which_file_is_the_newest(self, names, newest):
        """With filepath=None the attribute is set later."""
        for age, name in enumerate(reversed(names)):
            Path(name).touch()
            os.utime(name, (10**9 - age, 10**9 - age))
        callback = ModelCheckpoint(None)
        pattern = os.path.abspath("f.batch{batch:02d}epoch{epoch:02d}.h5")
        found = callback._get_most_recently_modified_file_matching_pattern(pattern)
        assert found == (newest and os.path.abspath(newest))

    def test_a_filepath_that_is_never_set(self, model):
        callback = ModelCheckpoint(None)
        with pytest.raises(InvalidCheckpoint, match=r"not empty\. Received: filepath=None"):
            fit(model, callback)
        callback.filepath = Path("m.h5")
        fit(model, callback)
        assert written("*.h5") == ["m.h5"]


class Interruption(Exception):
    """Ends a fit."""


class Interrupting(tf_keras.callbacks.Callback):
    """Ends a fit at a batch, counted over all epochs, or at the end of an epoch."""

    def __init__(self, *, batch=None, epoch=None):
        super().__init__()
        self.batch, self.epoch, self.count = batch, epoch, 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1
        if self.count == self.batch:
            raise Interruption

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise Interruption


class TestBackupAndRestore:
    """tf_keras's callback works beside kept's; both begin again where it says."""

    @pytest.mark.parametrize(
        ("save_freq", "interrupted", "begins"),
        [
            ("epoch", {"epoch": 1}, 2),
            (1, {"batch": 3}, 1),
            (2, {"batch": 4}, 2),
        ],
    )
    def test_an_interrupted_fit(self, model, save_freq, interrupted, begins):
        backup = tf_keras.callbacks.BackupAndRestore("backup", save_freq=save_freq)
        callback = ModelCheckpoint("m{epoch}.h5", name="m")
        with pytest.raises(Interruption):
            fit(model, callback, backup, Interrupting(**interrupted), epochs=3)
        epochs = []
        note = tf_keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: epochs.append(epoch)
        )
        fit(model, callback, backup, note, epochs=3)
        assert epochs[0] == begins
        assert callback.versions[-1].metadata["epoch"] == 2

    def test_the_count_of_steps_goes_on(self, model):
        backup = tf_keras.callbacks.BackupAndRestore("backup")
        callback = ModelCheckpoint("m{epoch}.h5", name="m")
        for epoch, steps in ((1, 4), (2, 6)):
            with pytest.raises(Interruption):
                fit(model, callback, backup, Interrupting(epoch=epoch), epochs=4)
            assert int(model._train_counter) == steps
        assert callback.wait()
        assert callback.versions[-1].metadata["step"] == 6

    def test_a_backup_that_is_deleted_at_the_end(self, model):
        backup = tf_keras.callbacks.BackupAndRestore("backup", delete_checkpoint=True)
        fit(model, ModelCheckpoint("m.h5"), backup)
        assert os.listdir("backup") == []

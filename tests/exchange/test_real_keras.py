"""What Keras's own ModelCheckpoint has written becomes versions that load."""

from __future__ import annotations

import numpy as np
import pytest

import kept

keras = pytest.importorskip("keras")
X, Y = np.linspace(0, 1, 32).reshape(8, 4), np.ones((8, 2))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders of three epochs in each format, and the model after the last one."""
    root = tmp_path_factory.mktemp("run")
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(5, activation="relu"), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("adam", "mse", metrics=["mae"])
    for name in ("whole", "weights", "old"):
        (root / name).mkdir()
    save = keras.callbacks.ModelCheckpoint
    saves = [
        save(root / "whole/weights.{epoch:02d}-{val_loss:.4f}.keras"),
        save(root / "weights/cp-{epoch:04d}.weights.h5", save_weights_only=True),
        save(root / "old/epoch={epoch}_mae={mae:.3f}.h5"),
    ]
    logs = model.fit(X, Y, validation_split=0.25, epochs=3, verbose=0, callbacks=saves)
    return root, model, logs.history


@pytest.fixture
def store(tmp_path):
    return kept.open_store(tmp_path / "store")


def predicted(model):
    return model.predict(X, verbose=0)


def test_whole_models(trained, store):
    root, model, history = trained
    new = kept.import_checkpoints(root / "whole", store=store, monitor="val_loss")
    assert [v.metadata["epoch"] for v in new] == [0, 1, 2]
    values = [v.metadata["value"] for v in new]
    assert values == pytest.approx(history["val_loss"], abs=1e-4)
    assert store["whole:best"].index == int(np.argmin(values))
    assert new[-1].metadata["keras_version"] == keras.__version__
    loaded = store["whole:latest"].load_model()
    np.testing.assert_array_equal(predicted(loaded), predicted(model))


def test_weights(trained, store):
    root, model, _ = trained
    assert len(kept.import_checkpoints(root / "weights", store=store)) == 3
    fresh = keras.models.clone_model(model)
    store["weights:epoch_2"].load_weights(fresh)
    np.testing.assert_array_equal(predicted(fresh), predicted(model))


def test_h5_models(trained, store):
    root, model, history = trained
    new = kept.import_checkpoints(root / "old", store=store)
    assert [v.metadata["metrics"]["mae"] for v in new] == pytest.approx(history["mae"], abs=1e-3)
    assert store["old"].best("mae").index == int(np.argmin(history["mae"]))
    loaded = store["old:latest"].load_model(compile=False)
    np.testing.assert_array_equal(predicted(loaded), predicted(model))

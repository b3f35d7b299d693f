"""Several processes save one model with Orbax, and the first of them commits its steps."""

from __future__ import annotations

import pytest

import kept
from tests.distributed.processes import succeed

pytestmark = pytest.mark.integration


def test_sharded_weights_become_one_version_a_step(tmp_path, monkeypatch):
    pytest.importorskip("orbax.checkpoint")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    first, second = succeed(2, "orbax_run.py", tmp_path / "run", tmp_path / "store")
    assert first["sharded"]
    assert second["sharded"]
    assert (first["name"], second["name"]) == ("m", None)
    assert (first["versions"], second["versions"]) == (["m:v0", "m:v1", "m:v2"], [])
    store = kept.open_store(tmp_path / "store")
    versions = store.versions("m")
    assert [v.metadata["orbax"]["step"] for v in versions] == [0, 1, 2]
    assert all(not v.verify().problems for v in versions)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["2"]

    kernel = kernel_of(store.version("m").download(tmp_path / "back"))
    for rows, columns, values in [*first["parts"], *second["parts"]]:
        assert kernel[slice(*rows), slice(*columns)].tolist() == values


def kernel_of(folder):
    """Load a version in this one process, and return the kernel that was sharded.

    Keras puts the weights onto other devices than those that saved them only if the program has
    set a distribution.
    """
    import keras

    alone = keras.distribution.DataParallel(devices=keras.distribution.list_devices()[:1])
    with alone.scope():
        model = keras.saving.load_model(folder)
    return keras.ops.convert_to_numpy(model.get_layer("up").kernel)

"""Weights are read in ranges of a version's file; tests/distributed has several processes."""

import keras
import numpy as np
import pytest

from kept.bucket.memory import MemoryBucket
from kept.errors import InvalidInput
from kept.store.store import Store
from kept.training.keras_api.sharded.load_weights import load_sharded, reads_ranges
from kept.training.keras_api.sharded.version_file import download_others, open_file

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="sharded on JAX only")


def model(seed: int = 0, units: int = 5) -> keras.Model:
    keras.utils.set_random_seed(seed)
    dense = keras.layers.Dense(units, dtype="bfloat16")
    made = keras.Sequential([keras.Input((3,)), dense, keras.layers.Dense(2)])
    made.compile("adam", "mse")
    made.optimizer.build(made.trainable_variables)
    return made


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_a_model_of_one_process_gets_all_values(tmp_path, name):
    saved, loaded = model(), model(1)
    (saved.save if name == "m.keras" else saved.save_weights)(tmp_path / name)
    (tmp_path / "other.txt").write_text("other")
    store = Store(MemoryBucket())
    version = store.log_artifact("a", [tmp_path / name, tmp_path / "other.txt"])
    assert not reads_ranges(loaded)
    file = download_others(version, tmp_path / "got", name)
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["other.txt"]
    load_sharded(file, loaded)
    for one, other in zip(saved.weights, loaded.weights, strict=True):
        assert np.array_equal(np.asarray(one.value), np.asarray(other.value))
    assert "_convert_to_tensor" not in vars(keras.Variable)
    with pytest.raises(ValueError, match="shape"):
        load_sharded(open_file(version, name), model(units=6))


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "m.keras").write_text("no checkpoint")
    version = Store(MemoryBucket()).log_artifact("a", tmp_path / "m.keras")
    with pytest.raises(InvalidInput):
        load_sharded(open_file(version, "m.keras"), model())

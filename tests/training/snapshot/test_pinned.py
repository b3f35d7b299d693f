"""Arrays of JAX on an accelerator. The CPU has pinned memory too, so it stands for one here."""

import weakref

import keras
import numpy as np
import pytest

import kept
from kept.training.snapshot import frameworks, pinned
from kept.training.snapshot.snapshot import Snapshot

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX needs this")


@pytest.fixture
def accelerator(monkeypatch):
    monkeypatch.setattr(frameworks, "is_on_accelerator", lambda _: True)


@pytest.fixture
def variables():
    return [
        keras.Variable(np.arange(12).reshape(3, 4) + n, dtype=dtype)
        for n, dtype in enumerate(["float32", "bfloat16", "int8", "bool"])
    ]


def taken(snapshot, variable):
    return np.asarray(snapshot.value(variable), "float32").tolist()


def test_the_copies_lie_in_pinned_memory_and_stay_as_they_are(accelerator, variables):
    snapshot = Snapshot("jax")
    snapshot.take(variables)
    before = [np.asarray(v.value, "float32").tolist() for v in variables]
    for variable in variables:
        variable.assign(np.zeros((3, 4)))
    assert [taken(snapshot, v) for v in variables] == before
    for variable in variables:
        assert not snapshot.value(variable).flags.owndata
        assert not snapshot.value(variable).flags.writeable
        assert len(snapshot.memory(variable)) == np.asarray(variable.value).nbytes
    assert snapshot.array(variables[0]).dtype == "float32"
    assert snapshot.array(variables[1]) is None
    snapshot.take(variables)
    assert all(taken(snapshot, v) == np.zeros((3, 4)).tolist() for v in variables)


def test_memory_is_pinned_before_the_first_save(accelerator, variables, monkeypatch):
    pins = []
    monkeypatch.setattr(
        frameworks, "to_pinned", lambda arrays: pins.append(len(arrays)) or pinned.to_pinned(arrays)
    )
    snapshot = Snapshot("jax")
    snapshot.reserve(variables)
    assert pins == [1, 1, 1, 1]
    snapshot.touch()
    snapshot.take(variables)
    assert pins == [1, 1, 1, 1, 4]  # all at once


def test_what_a_snapshot_held_is_free_before_it_takes_new_memory(accelerator, variables):
    snapshot, held = Snapshot("jax"), []

    class Watched:
        shape, dtype = (3, 4), np.dtype("float32")

        def __del__(self):
            held.append("gone")

    snapshot.take(variables[:1])
    snapshot._values = {id(variables[0]): (weakref.ref(variables[0]), Watched())}
    original = frameworks.to_pinned
    frameworks.to_pinned = lambda arrays: held.append("new") or original(arrays)
    try:
        snapshot.take(variables[:1])
    finally:
        frameworks.to_pinned = original
    assert held == ["gone", "new"]


def test_without_pinned_memory_copies_are_made_as_ever(accelerator, variables, monkeypatch):
    def full(_):
        raise pinned.NoPinnedMemory

    snapshot = Snapshot("jax")
    snapshot.take(variables)
    monkeypatch.setattr(frameworks, "to_pinned", full)
    for _ in range(2):
        variables[0].assign(variables[0] + 1)
        snapshot.take(variables)
        for variable in variables:
            assert taken(snapshot, variable) == np.asarray(variable.value, "float32").tolist()
            assert snapshot.value(variable).flags.writeable


def test_memory_that_was_pinned_is_not_written_to_later(accelerator, variables, monkeypatch):
    """A further variable finds no pinned memory; the others still have theirs, read-only."""
    snapshot = Snapshot("jax")
    snapshot.take(variables[:2])
    original = frameworks.to_pinned

    def full_for_one(arrays):
        if len(arrays) == 1:
            raise pinned.NoPinnedMemory
        return original(arrays)

    monkeypatch.setattr(frameworks, "to_pinned", full_for_one)
    for variable in variables:
        variable.assign(np.ones((3, 4)))
    snapshot.take(variables[:3])
    assert [taken(snapshot, v) for v in variables[:3]] == [np.ones((3, 4)).tolist()] * 3


def test_only_a_lack_of_memory_is_taken_for_one(variables):
    import jax

    class Full:
        def with_memory_kind(self, _):
            return None

    class Array:
        sharding = Full()

    def fails(message):
        def put(*_):
            raise jax.errors.JaxRuntimeError(message)

        return put

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "device_put", fails("RESOURCE_EXHAUSTED: out of pinned host memory"))
        with pytest.raises(pinned.NoPinnedMemory):
            pinned.to_pinned([Array()])
        patch.setattr(jax, "device_put", fails("INTERNAL: something else"))
        with pytest.raises(jax.errors.JaxRuntimeError):
            pinned.to_pinned([Array()])


def test_arrays_on_the_host_are_not_pinned(variables):
    assert not any(pinned.is_on_accelerator(v.value) for v in variables)


def test_a_run_saves_and_resumes_from_pinned_memory(accelerator, tmp_path):
    def fit(epochs, folder, **options):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        callback = kept.ModelCheckpoint(
            tmp_path / folder / "m.keras", store=tmp_path / folder / "store", name="m", **options
        )
        x = np.random.default_rng(0).random((32, 4), "float32")
        model.fit(x, x[:, :1], epochs=epochs, batch_size=8, verbose=0, callbacks=[callback])
        return [w.tolist() for w in model.get_weights()]

    whole = fit(4, "whole")
    fit(2, "parts")
    assert fit(4, "parts", resume=True) == whole

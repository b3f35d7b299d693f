"""A version whose bytes several ranks store is the version that one process stores."""

import keras
import numpy as np
import pytest

from kept.bucket.memory import MemoryBucket
from kept.errors import InvalidCheckpoint, SaveFailed
from kept.store.log.fence import WriteFence
from kept.store.store import Store
from kept.training.keras_api.save_file import cannot_share, write_snapshot
from kept.training.snapshot.file_layout import IN_MEMORY, Structure
from kept.training.snapshot.snapshot import Snapshot
from kept.training.snapshot.variables import outside_file, variables_of
from tests.training.shared.ranks import Ranks, snapshots

pytestmark = [
    pytest.mark.usefixtures("frozen_clock"),
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX shards across processes"),
]


def alone(of):
    """Return the file that one process composes."""
    snapshot = Snapshot("jax")
    snapshot.take(variables_of(of))
    return write_snapshot(of, snapshot, "m.keras", weights_only=False).file


def bytes_in(store):
    return sum(item.size - 16 for item in store.bucket.items("blobs/"))


@pytest.mark.parametrize("size", [2, 4])
def test_the_version_is_that_of_one_process(trained, store, size):
    ranks, other = Ranks(size, store.bucket), Store(MemoryBucket())
    version = ranks.save(store, trained, snapshots(trained, size))
    expected = other.log_artifact("m", [alone(trained)])
    assert version.digest == expected.digest
    assert bytes_in(store) == bytes_in(other)
    assert version.bytes_new == bytes_in(store)
    assert ranks.outcomes[1:] == [version.reference] * (size - 1)
    assert store.verify().ok


def test_the_bytes_are_those_of_one_process(trained, store, tmp_path):
    version = Ranks(3, store.bucket).save(store, trained, snapshots(trained, 3))
    version.download(tmp_path)
    assert (tmp_path / "m.keras").read_bytes() == b"".join(alone(trained).parts)


def test_the_same_weights_cost_nothing_again(trained, store):
    ranks, held = Ranks(2, store.bucket), snapshots(trained, 2)
    first = ranks.save(store, trained, held)
    before = bytes_in(store)
    again = ranks.save(store, trained, held)
    assert again.index == first.index
    assert bytes_in(store) == before


def test_a_changed_weight_costs_its_own_chunks(trained, store):
    ranks, held = Ranks(2, store.bucket), snapshots(trained, 2)
    ranks.save(store, trained, held)
    piece = max((piece for piece, _ in held[1].own_pieces()), key=lambda one: one.size)
    held[1]._range(piece)[0] ^= 1
    version = ranks.save(store, trained, held)
    assert piece.size <= version.bytes_new < piece.size + 64 * 1024


def test_a_recorded_layout_fills_the_same_file(trained, store):
    structure = Structure(is_sure=True)
    ranks = Ranks(2, store.bucket)
    first = ranks.save(store, trained, snapshots(trained, 2, structure))
    assert len(structure.layouts[IN_MEMORY].kept) < 200_000
    again = ranks.save(store, trained, snapshots(trained, 2, structure))
    assert again.digest == first.digest


def test_equal_pieces_of_two_ranks_are_stored_once(store):
    class Zeros(keras.layers.Layer):
        def build(self, _):
            self.vector = self.add_weight(shape=(9_000_000,), initializer="zeros")

        def call(self, inputs):
            return inputs

    zeros = keras.Sequential([keras.Input((1,)), Zeros()])
    version = Ranks(3, store.bucket).save(store, zeros, snapshots(zeros, 3))
    assert version.bytes_new < 17 * 1024 * 1024 + 3 * 1024 * 1024 < 36_000_000


def test_a_gc_in_between_has_the_ranks_store_again(trained, store, monkeypatch):
    ranks, held = Ranks(2, store.bucket), snapshots(trained, 2)
    ranks.save(store, trained, held)
    store.delete("m:v0", force=True)
    checks = []
    plain = WriteFence.check

    def check(self, view):
        checks.append(view.head)
        if len(checks) == 1:
            store.gc(grace=0)  # deletes what the deleted version had, and puts a fence
        plain(self, store.log("m").view())

    monkeypatch.setattr(WriteFence, "check", check)
    version = ranks.save(store, trained, held)
    assert len(checks) > 1
    assert ranks.outcomes[1] == version.reference
    assert store.verify().ok


def test_condemned_chunks_get_blobs_of_other_names(trained, store, monkeypatch):
    condemned = set()
    monkeypatch.setattr("kept.store.log.fence._listed_in", lambda *_: frozenset(condemned))
    ranks, held = Ranks(2, store.bucket), snapshots(trained, 2)
    ranks.save(store, trained, held)
    condemned |= {*store.bucket.keys("blobs/")}
    version = ranks.save(store, trained, held)
    used = {f"blobs/{c.blob[:2]}/{c.blob}" for c in version.manifest.chunks()}
    assert not used & condemned
    assert store.verify().ok


def test_a_rank_that_fails_is_named_and_the_next_save_works(trained, store):
    class Full(MemoryBucket):
        def put_many(self, items, transfer=None):
            raise OSError(28, "No space left on device")

    ranks, held = Ranks(3, store.bucket), snapshots(trained, 3)
    ranks.bucket = Full()
    with pytest.raises(OSError, match=r"rank 1: No space left"):
        ranks.save(store, trained, held)
    assert all("rank 1: No space left" in str(error) for error in ranks.outcomes[1:])
    assert not store.artifacts()
    ranks.bucket = store.bucket
    assert ranks.save(store, trained, held).index == 0
    assert store.verify().ok


def test_a_silent_rank_is_named_to_all(trained, store):
    ranks, held = Ranks(3, store.bucket, seconds=0.3), snapshots(trained, 3)
    with pytest.raises(RuntimeError, match="rank 2 of 3 did not answer"):
        ranks.save(store, trained, held, without=(2,))
    assert "rank 2 of 3 did not answer" in str(ranks.outcomes[1])


def test_a_silent_first_rank_is_named(trained, store):
    ranks, held = Ranks(2, store.bucket, seconds=0.2), snapshots(trained, 2)
    ranks.begin(held)
    ranks.join()
    assert isinstance(ranks.outcomes[1], SaveFailed)
    assert "rank 0 of 2 did not answer" in str(ranks.outcomes[1])


def test_an_error_of_the_first_rank_ends_the_save_of_all(trained, store):
    ranks, held = Ranks(2, store.bucket), snapshots(trained, 2)
    shared = ranks.begin(held)
    ranks.end(shared, "", ValueError("no config"))  # before it read any message
    assert "rank 0 could not save the checkpoint: no config" in str(ranks.outcomes[1])


def test_other_pieces_than_expected_are_refused(trained, store):
    ranks, held = Ranks(2, store.bucket), snapshots(trained, 2)
    other = keras.Sequential([keras.Input((128,)), keras.layers.Dense(200)])
    with pytest.raises(SaveFailed, match="rank 1 has other pieces"):
        ranks.save(store, trained, [held[0], snapshots(other, 2)[1]])


def test_a_layer_that_saves_its_own_values_is_refused(store):
    class Own(keras.layers.Layer):
        def build(self, _):
            self.table = self.add_weight(shape=(100_000,))

        def call(self, inputs):
            return inputs

        def save_own_variables(self, store):
            store["halves"] = np.asarray(self.table.value) / 2

    own = keras.Sequential([keras.Input((1,)), Own(), keras.layers.Dense(120_000, use_bias=False)])
    with pytest.raises(
        InvalidCheckpoint, match="is sharded across processes, and its values are needed"
    ):
        Ranks(2, store.bucket).save(store, own, snapshots(own, 2))


def test_a_large_metric_belongs_to_the_first_rank(store):
    counts = keras.metrics.MeanIoU(num_classes=200)  # 160 KB, in no file
    layers = [keras.Input((1,)), keras.layers.Dense(200_000, use_bias=False)]
    measured = keras.Sequential(layers)
    measured.compile("sgd", "mse", metrics=[counts])
    held = snapshots(measured, 2)
    held[0].whole = held[1].whole = outside_file(measured) | {id(counts.total_cm)}
    for one in held:
        one.take([*variables_of(measured), counts.total_cm])
    assert not held[0].lacks(counts.total_cm)
    assert Ranks(2, store.bucket).save(store, measured, held).index == 0


@pytest.mark.parametrize(
    ("path", "why"), [("m.h5", "need a .keras file"), ("m.keras", None), ("m.weights.h5", "need")]
)
def test_formats_that_several_processes_can_write(trained, path, why):
    found = cannot_share(trained, path, weights_only=path.endswith(".weights.h5"))
    assert found is None if why is None else why in found


def test_lora_is_refused():
    dense = keras.layers.Dense(4)
    tuned = keras.Sequential([keras.Input((4,)), dense])
    dense.enable_lora(2)
    assert "LoRA" in cannot_share(tuned, "m.keras", weights_only=False)


def test_no_message_of_a_save_is_left(trained, store):
    ranks = Ranks(2, store.bucket)
    ranks.save(store, trained, snapshots(trained, 2))
    left = ranks.groups[0].transport._shared.values.values()
    assert sum(map(len, left)) < 200


def test_a_save_deletes_the_requests_of_those_before_it(trained, store):
    ranks = Ranks(3, store.bucket)
    for number in range(1, 4):
        ranks.save(store, trained, snapshots(trained, 3))
        left = ranks.groups[0].transport._shared.values
        assert {key.rpartition("/")[0].rpartition("/")[0] for key in left} == {
            f"kept/1/requests/{number}"
        }

"""Ranks of one process, each with its pieces of a model's values."""

from __future__ import annotations

import threading

import keras
import numpy as np

from kept.training.group.announce import SharedSave
from kept.training.keras_api.save_file import write_snapshot
from kept.training.shared.follow import follow_save
from kept.training.shared.write import SharedWrite
from kept.training.snapshot.file_layout import Structure
from kept.training.snapshot.python_part import PythonPart
from kept.training.snapshot.shards import ShardedSnapshot
from kept.training.snapshot.variables import outside_file, variables_of
from tests.training.group.threads import groups


class Vector(keras.layers.Layer):
    """A layer with one value of a given length."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def build(self, _: object) -> None:
        self.vector = self.add_weight(shape=(self.length,), initializer="random_normal")

    def call(self, inputs):
        return inputs * keras.ops.mean(self.vector)


def model(*layers: keras.layers.Layer) -> keras.Model:
    """Return a model whose values fill pieces of all kinds, trained for one step."""
    found = keras.Sequential([keras.Input((128,)), *layers])
    found.compile("adam", "mse")
    found.fit(np.ones((2, 128)), np.zeros((2, *found.output_shape[1:])), verbose=0)
    return found


def usual_model() -> keras.Model:
    """One value is exactly as large as a cut one must be; another one ends in a short piece."""
    return model(
        keras.layers.Dense(128), keras.layers.Dense(128, use_bias=False), Vector(5_000_003)
    )


def snapshots(
    of: keras.Model, size: int, structure: Structure | None = None
) -> list[ShardedSnapshot]:
    """Return what each rank has of a model's values."""
    found, python = [], PythonPart(structure=structure or Structure())
    for rank in range(size):
        snapshot = ShardedSnapshot(rank, size)
        snapshot.whole = outside_file(of)
        snapshot.take(variables_of(of))
        snapshot.python = python
        found.append(snapshot)
    return found


class Ranks:
    """Threads that save as the ranks of a group do; the calling thread is the first rank."""

    def __init__(self, size: int, bucket, *, seconds: float = 20.0) -> None:
        self.groups = groups(size, seconds)
        self.bucket = bucket
        self.outcomes: list[object] = [None] * size  # of the followers: a reference or an error
        self._number = 0

    def begin(self, snapshots: list[ShardedSnapshot], without: tuple[int, ...] = ()) -> SharedWrite:
        """Start the followers of the next save, except silent ones."""
        self._number += 1
        number = self._number
        self._threads = [
            threading.Thread(target=self._follow, args=(rank, number, snapshots[rank]))
            for rank in range(1, len(snapshots))
            if rank not in without
        ]
        for thread in self._threads:
            thread.start()
        return SharedWrite(SharedSave(self.groups[0], 1, number))

    def end(self, shared: SharedWrite, reference: str, error: Exception | None = None) -> None:
        """End the save; wait for the followers."""
        shared.end(reference, error)
        self.join()

    def join(self) -> None:
        """Wait for the followers."""
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def save(self, store, of: keras.Model, snapshots: list[ShardedSnapshot], **begin):
        """Save as the first rank does; return the version."""
        shared = self.begin(snapshots, **begin)
        try:
            file = compose(of, snapshots[0], shared)
            version = store.log_artifact("m", [file])
        except Exception as error:
            self.end(shared, "", error)
            raise
        self.end(shared, version.reference)
        return version

    def _follow(self, rank: int, number: int, snapshot: ShardedSnapshot) -> None:
        save = SharedSave(self.groups[rank], 1, number)
        try:
            self.outcomes[rank] = follow_save(save, snapshot.own_pieces(), self.bucket)
        except Exception as error:  # noqa: BLE001 - the tests look at it
            self.outcomes[rank] = error


def compose(of: keras.Model, snapshot: ShardedSnapshot, shared: SharedWrite):
    """Return the file that the first rank composes."""
    held = shared.ranges(snapshot)
    return write_snapshot(of, snapshot, "m.keras", weights_only=False, held=held).file

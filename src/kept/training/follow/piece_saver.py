"""Saves the pieces of the weights that a process after the first one holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.training.shared.follow import fail_save, follow_save
from kept.training.snapshot.pool import sharded_pool
from kept.training.snapshot.variables import outside_file, variables_of

if TYPE_CHECKING:
    import keras

    from kept.bucket.base import Bucket
    from kept.training.group.announce import SharedSave
    from kept.training.group.base import Group
    from kept.training.save.writer import Writer
    from kept.training.snapshot.snapshot import Snapshot


class PieceSaver:
    """Copies pieces on the training thread, and stores them on the writer thread.

    Invariant: for each save that the first rank announces, this process copies the variables in the
    same order as the first rank does, and then follows the save to its end.
    """

    def __init__(self, group: Group, bucket: Bucket, writer: Writer) -> None:
        self._group, self._bucket, self._writer = group, bucket, writer
        self._pool = sharded_pool(group)

    def save(self, model: keras.Model, save: SharedSave) -> None:
        """Take part in a save; the writer thread raises SaveFailed if there is no version."""
        snapshot = self._pool.borrow(wait=True)
        assert snapshot is not None
        try:
            snapshot.whole = outside_file(model)
            snapshot.take(variables_of(model))
        except BaseException as error:
            self._pool.give_back(snapshot)
            text = RuntimeError(f"the weights could not be copied: {error}")
            self._writer.submit(lambda: _fail(save, text))
            raise
        self._writer.submit(lambda: self._store(save, snapshot))

    def free(self) -> None:
        """Free the memory of the snapshots."""
        self._pool = sharded_pool(self._group)

    def _store(self, save: SharedSave, snapshot: Snapshot) -> None:
        try:
            follow_save(save, snapshot.own_pieces(), self._bucket)  # type: ignore[attr-defined]
        finally:
            self._pool.give_back(snapshot)


def _fail(save: SharedSave, error: Exception) -> None:
    fail_save(save, error)

"""Saving a checkpoint that is due: snapshot, file, version, and the file under its final name.

The version is committed first and the file published after it, so the version is there as soon
as it is durable; a file is published also when the commit failed, since it is good. Where saves
come faster than they can be written, every version is committed, but not every file is published
that the next one would replace at once.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from kept.errors import SaveFailed
from kept.training.keras_api.save_file import MODEL_CHANGED, cannot_snapshot, write_snapshot
from kept.training.messages import show, show_once
from kept.training.request import SaveRequest
from kept.training.save.checkpoint_files import paths_of
from kept.training.save.disk_full import advice, is_full
from kept.training.save.path_template import beside, bring_to_disk, publish
from kept.training.save.writer import Writer, wait_with_notice
from kept.training.snapshot.snapshot import Snapshot, SnapshotPool
from kept.training.snapshot.variables import variables_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras

    from kept.store.content.file_source import MemoryFile
    from kept.store.version import Version
    from kept.training.destinations.base import Describe, Destination
    from kept.training.snapshot.frameworks import Variable
    from kept.training.upkeep.compaction import BackgroundCompactor
    from kept.training.upkeep.upkeep import Upkeep

_SPEED = 300e6  # bytes per second that are written, until the first save has shown it


class Saver:
    """Saves checkpoints in the order they come, in the background or on the spot."""

    def __init__(  # noqa: PLR0913 - one caller
        self,
        destination: Destination,
        recoder: BackgroundCompactor,
        framework: str,
        *,
        write_live: Callable[[keras.Model, str], None],
        weights_only: bool,
        background: bool,
        wait: bool,
        keep_local: bool,
        tidying: Upkeep,
    ) -> None:
        self._destination = destination
        self._recoder = recoder
        self.skipped = 0
        self.messages: deque[str] = deque()  # of the writer, for the training thread to show
        self._framework = framework
        self._write_live = write_live
        self._weights_only = weights_only
        self._background = background
        self._wait = wait
        self._keep_local = keep_local
        self._tidying = tidying
        self.known_as = ""  # what the newest checkpoint is
        self._is_committed = False  # whether it is a version, or on its way to be one
        self.writer = Writer()
        self._pool = SnapshotPool(framework)
        self._queue = deque[SaveRequest]()  # that the writer has not begun with
        self._passed_over = False  # whether the newest checkpoint's file was not published
        self._extra: list[Variable] = []  # that Keras saves and no list of the model's holds
        self._began = 0.0  # time.perf_counter() at the save before, or when the fit began
        self._between = 0.0  # seconds from there to the newest save
        self._took: float | None = None  # seconds from a save's hook until it was written

    def prepare(self, model: keras.Model) -> None:
        """Make memory for a snapshot, the slow part of it in the background."""
        self._began = time.perf_counter()
        if self._is_live(model):
            if self._background:
                show_once(f"files are written on the training thread: {cannot_snapshot(model)}")
        else:
            self._pool.reserve(variables_of(model))
            self.writer.submit(self._pool.touch)

    def save(self, due: SaveRequest) -> None:
        """Save a checkpoint, or take a snapshot and leave the rest to the writer.

        Raises SaveFailed where it saves on the spot.
        """
        self._between, self._began = due.started - self._began, due.started
        self._recoder.save_begins()
        if self._is_live(due.model):
            try:
                self.writer.is_done()  # with what the model was before it got such layers
                self._write(due, None, due.started)
            finally:
                self._recoder.save_ends()
            return
        try:
            snapshot = self._pool.borrow(wait=self._wait)
        except BaseException:  # Ctrl-C while it waits
            due.undo()
            self._recoder.save_ends()
            raise
        if snapshot is None:
            due.undo()
            self._recoder.save_ends()
            self.skipped += 1
            self.messages.append(f"{due.label}: skipped, two are still being written")
            return
        try:
            snapshot.take(variables_of(due.model, self._extra))
            self._make_room(due, snapshot.size)
        except BaseException:
            due.undo()
            self._give_back(snapshot)
            raise
        due.metadata["stall_seconds"] = time.perf_counter() - due.started
        due.metadata["snapshot_bytes"] = snapshot.size
        self._queue.append(due)
        self.writer.submit(lambda: self._write_and_give_back(due, snapshot))

    @property
    def has_failed(self) -> bool:
        """Whether there is something for raise_failure to raise."""
        return self.writer.has_failed

    def raise_failure(self) -> None:
        """Raise the oldest error of the background that has not been raised yet."""
        self.writer.raise_failure()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every checkpoint is durable, at most timeout seconds; return if they are."""
        return self.writer.wait(timeout)

    def is_done(self, timeout: float | None = None) -> bool:
        """Wait as wait does, and raise nothing."""
        return self.writer.is_done(timeout)

    def finish(self) -> None:
        """Wait until every checkpoint is durable, and tell the user if that takes long."""
        wait_with_notice(self.writer, "writing the last checkpoints")

    def close(self) -> None:
        """Wait until every checkpoint is durable, and let go of the memory of the snapshots."""
        try:
            self.writer.wait()
        finally:
            self._pool = SnapshotPool(self._framework)

    def _is_live(self, model: keras.Model) -> bool:
        """Return whether files are written on the training thread."""
        return not self._background or cannot_snapshot(model) is not None

    def _write_and_give_back(self, due: SaveRequest, snapshot: Snapshot) -> None:
        self._queue.popleft()
        try:
            self._write(due, snapshot, time.perf_counter())
        finally:
            self._give_back(snapshot)
        self._took = time.perf_counter() - due.started

    def _make_room(self, due: SaveRequest, size: int) -> None:
        """Make memory for the other snapshot, too, once the next save may come before it is free.

        Most runs save less often, and take the memory of one snapshot only. (On the training
        thread: on JAX no other may look at variables.)
        """
        if self._may_overlap(size):
            self._pool.reserve(variables_of(due.model, self._extra))
            self.writer.submit(self._pool.touch)

    def _may_overlap(self, size: int) -> bool:
        if self._took is not None:
            return 2 * self._took > self._between
        guess = size / _SPEED
        # Where saves wait for the writer in any case, it has better to do than to touch memory.
        return guess / 2 < self._between < 2 * guess

    def _give_back(self, snapshot: Snapshot) -> None:
        self._pool.give_back(snapshot)
        self._recoder.save_ends()

    def _write(self, due: SaveRequest, snapshot: Snapshot | None, started: float) -> None:
        try:
            try:
                version = self._write_once(due, snapshot, started)
            except OSError as error:
                if self._is_committed or not self._has_made_room(due, error):
                    raise
                version = self._write_once(due, snapshot, started)
        except Exception as error:
            if not self._is_committed:  # the best that is a version is the best
                due.undo()
            what = f"{self._not_saved(due)}: {type(error).__name__}: {error}"
            raise SaveFailed(f"{due.label}: {what}{advice(error)}") from error
        told = f"finished saving model to {due.path} ({self.known_as})"
        if self._passed_over:
            told = f"finished saving {self.known_as}; the next save is for {due.path}"
        elif due.publish and self._keep_local:
            self._tidying.published(due.path, version)
        self.messages.append(f"{due.label}: {told}")

    def _not_saved(self, due: SaveRequest) -> str:
        if self._is_committed:
            return f"the checkpoint is committed, but {due.path} could not be saved"
        return f"the checkpoint {due.path} could not be saved in {self._destination.location}"

    def _has_made_room(self, due: SaveRequest, error: OSError) -> bool:
        return is_full(error) and self._tidying.make_room(self._destination.store, due.name)

    def _publish(self, due: SaveRequest, file: MemoryFile | str, place: str) -> None:
        try:
            publish(file, place, due.path)
        except OSError as error:  # where the commit has failed, all of it is tried again
            if not self._is_committed or not self._has_made_room(due, error):
                raise
            publish(file, place, due.path)

    def _write_once(
        self, due: SaveRequest, snapshot: Snapshot | None, started: float
    ) -> Version | None:
        self._is_committed = False
        with beside(due.path) as place, contextlib.ExitStack() as at_the_end:
            file = self._write_file(due, place, snapshot)
            if due.publish:  # also when the commit fails: the file is good
                at_the_end.callback(self._publish, due, file, place)
            pieces = paths_of(place) if isinstance(file, str) else [file]
            files = [*pieces, *self._write_state(due, place, snapshot)]
            describe = self._describer(due, started)
            version = self._destination.commit(due, files, describe)
            self._is_committed = version is not None
            if self._destination.takes_files:
                bring_to_disk(file, place)
            known_as = self._destination.hand_over(due, place, version, describe)
            self._is_committed = True
            if self._passes_over(due) or not self._keep_local:
                at_the_end.pop_all()  # nothing is published
        self.known_as = known_as
        return version

    def _passes_over(self, due: SaveRequest) -> bool:
        """Whether a committed checkpoint's file is not worth writing: the next one waits already.

        Never the first file at a path, the last one, or two in a row.
        """
        waits = any(other.publish and other.path == due.path for other in self._queue.copy())
        self._passed_over = (
            waits
            and not self._passed_over
            and not self._destination.takes_files  # which has it written already
            and os.path.lexists(due.path)
        )
        return self._passed_over

    def _write_file(
        self, due: SaveRequest, place: str, snapshot: Snapshot | None
    ) -> MemoryFile | str:
        if snapshot is None:
            self._write_live(due.model, place)
            return place
        written = write_snapshot(due.model, snapshot, place, weights_only=self._weights_only)
        self._extra += written.missing
        if written.missing:
            listed = {id(variable) for variable in variables_of(due.model)}
            if any(id(variable) in listed for variable in written.missing):
                show(f"{due.label}: {MODEL_CHANGED}")
        return written.file

    def _write_state(self, due: SaveRequest, place: str, snapshot: Snapshot | None) -> list[str]:
        if due.state is None:  # it always is with tf_keras
            return []
        from kept.training.resume.state import write_state

        return write_state(due.state, due.model, os.path.dirname(place), snapshot)

    @staticmethod
    def _describer(due: SaveRequest, started: float) -> Describe:
        def describe(bytes_new: int | None) -> dict[str, Any]:
            seconds = time.perf_counter() - started
            # On the spot all of it is a stall; from a snapshot, due.metadata says what was one.
            times = {"stall_seconds": seconds, "write_seconds": seconds}
            new = {} if bytes_new is None else {"bytes_new": bytes_new}
            return times | due.metadata | new

        return describe

"""Saves requests in their order: in the background from a snapshot, or on the training thread."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from kept.messages import show_once
from kept.training.group.read_together import already_read, read_together
from kept.training.keras_api.save_file import cannot_snapshot
from kept.training.request import SaveResult
from kept.training.save.pace import SavePace
from kept.training.save.writer import Writer, wait_with_notice
from kept.training.snapshot.pool import SnapshotPool, plain_pool, sharded_pool
from kept.training.snapshot.snapshot import Snapshot
from kept.training.snapshot.variables import outside_file, untracked, variables_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras

    from kept.training.group.base import Group
    from kept.training.request import SaveRequest
    from kept.training.save.write_checkpoint import CheckpointWriter
    from kept.training.snapshot.frameworks import Variable


class TakesResults(Protocol):
    """Takes the result of each save, on the thread that wrote it."""

    def saved(self, result: SaveResult) -> None:
        """Take a result; each request has exactly one."""


class Saver:
    """Takes snapshots on the training thread and hands them to the writer thread.

    Every request has one result, which goes to `results` on the thread that wrote the checkpoint.
    An error is also raised: at once if the save ran on the training thread, otherwise by the next
    call of the writer's raise_failure or wait.
    """

    def __init__(
        self,
        checkpoints: CheckpointWriter,
        framework: str,
        results: TakesResults,
        *,
        background: bool,
    ) -> None:
        self.writer = Writer()
        self._checkpoints = checkpoints
        self._framework = framework
        self._results = results
        self.background = background  # whether files are written from snapshots
        self._pool = plain_pool(framework)
        self.group: Group | None = None  # the processes that each have a part of the weights
        self._pace = SavePace()
        self._queue: deque[SaveRequest] = deque()  # the writer thread has not begun these
        self._was_superseded = False  # whether the newest checkpoint's file was not published

    def share(self, group: Group | None) -> None:
        """Save what all processes of a group hold, each a part; None: this process has all."""
        if group is not None or self.group is not None:
            self.writer.is_done()
            self.group = group
            self._pool = self._new_pool()

    def _new_pool(self) -> SnapshotPool:
        return sharded_pool(self.group) if self.group else plain_pool(self._framework)

    def prepare(self, model: keras.Model) -> None:
        """Make memory for a snapshot, the slow part of it in the background.

        A model that is a part of the trained one may have no values now: on JAX they come back at
        the end of an epoch. The first save then does all of this.
        """
        self._pace.begin()
        if self._is_live(model):
            if self.background:
                show_once(f"files are written on the training thread: {cannot_snapshot(model)}")
            return
        hidden = untracked(model)
        variables = variables_of(model, hidden=hidden)
        if all(getattr(variable, "_value", True) is not None for variable in variables):
            if self.group is None:  # other snapshots take part of their memory, at the first save
                self._pool.reserve(variables)
                self.writer.submit(self._pool.touch)
            self._checkpoints.python_parts.prepare(model, Snapshot(self._framework), hidden)

    def save(self, request: SaveRequest, *, wait: bool = True) -> bool:
        """Save a checkpoint, or take a snapshot and leave the rest to the writer thread.

        Without wait the checkpoint is dropped while both snapshots are being written; returns
        False then. Raises SaveFailed if it saves on the training thread.
        """
        self._pace.save_begins(request.started)
        if self._is_live(request.model):
            self._save_live(request)
            return True
        return self._save_snapshot(request, wait=wait)

    def drop(self, request: SaveRequest) -> None:
        """Skip a checkpoint."""
        self._finish(SaveResult(request, dropped=True))

    @property
    def has_room(self) -> bool:
        """Whether the next save need not wait for a snapshot."""
        return not self.background or self._pool.has_free

    def finish(self) -> None:
        """Wait until every checkpoint is durable, with a notice if that takes long."""
        wait_with_notice(self.writer, "writing the last checkpoints")

    def close(self) -> None:
        """Wait until every checkpoint is durable, and free the memory of the snapshots."""
        try:
            self.writer.wait()
        finally:
            self._pool = self._new_pool()
            self._checkpoints.python_parts.forget()

    def _is_live(self, model: keras.Model) -> bool:
        """Return whether files are written on the training thread."""
        return not self.background or cannot_snapshot(model) is not None

    def _save_live(self, request: SaveRequest) -> None:
        with self._reporting(request):
            self.writer.is_done()  # with snapshots from before the model got such layers
            values = read_together(request.model)
        with already_read(values):
            self._finish(self._write(request, None))

    def _save_snapshot(self, request: SaveRequest, *, wait: bool) -> bool:
        with self._reporting(request):
            snapshot = self._pool.borrow(wait=wait)
            if snapshot is not None:
                self._take(snapshot, request)
        if snapshot is None:
            self.drop(request)
            return False
        measured = {
            "stall_seconds": time.perf_counter() - request.started,
            "snapshot_bytes": snapshot.size,
        }
        request = request.with_metadata(measured)
        self._queue.append(request)
        self.writer.submit(lambda: self._write_snapshot(request, snapshot))
        return True

    @contextlib.contextmanager
    def _reporting(self, request: SaveRequest) -> Iterator[None]:
        """Report the result of a request if the block fails, or Ctrl-C interrupts it."""
        try:
            yield
        except BaseException:
            self._results.saved(SaveResult(request))
            raise

    def _take(self, snapshot: Snapshot, request: SaveRequest) -> None:
        try:
            model, parts = request.model, self._checkpoints.python_parts
            before = parts.unchanged(model)
            hidden = untracked(model) if before is None else before.untracked
            # All processes of a group copy the same variables, and only this one knows of more.
            extra = () if self.group else self._checkpoints.extra_variables
            variables = variables_of(model, extra, hidden)
            snapshot.whole = outside_file(model, hidden) if self.group else frozenset()
            if self.group and request.shared:
                request.shared.begin_copy()
            snapshot.take(variables)
            snapshot.python = parts.take(model, snapshot, hidden, before)
            self._make_memory(variables, snapshot.size)
        except BaseException:
            self._pool.give_back(snapshot)
            raise

    def _write_snapshot(self, request: SaveRequest, snapshot: Snapshot) -> None:
        """Do the job of the writer thread; raises SaveFailed."""
        self._queue.popleft()
        result = self._write(request, snapshot)
        self._pool.give_back(snapshot)
        self._pace.save_ended(request.started)
        self._finish(result)

    def _finish(self, result: SaveResult) -> None:
        """Report a result, and raise its error."""
        self._results.saved(result)
        if result.error is not None:
            raise result.error

    def _write(self, request: SaveRequest, snapshot: Snapshot | None) -> SaveResult:
        # Of two files in a row at one path at least one is published.
        waiting = () if self._was_superseded else self._queue
        result = self._checkpoints.write(request, snapshot, waiting)
        if result.error is None:
            self._was_superseded = result.superseded
        return result

    def _make_memory(self, variables: list[Variable], size: int) -> None:
        """Make memory for the other snapshot if the next save may come before this one is written.

        Most runs save less often, and take the memory of one snapshot only. This runs on the
        training thread because on JAX no other thread may look at variables.
        """
        if self.group is None and self._pace.may_overlap(size):
            self._pool.reserve(variables)
            self.writer.submit(self._pool.touch)

"""From a save request to its result: Keras's file, the version, the file at its final path.

The version is committed first and the file published after it, so the version exists as soon as it
is durable. The file is published also if the commit fails, because the file itself is good. If
saves come faster than the writer thread can write them, every version is committed, but a file that
the next save replaces at once is not published.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, cast

from kept.errors import SaveFailed
from kept.messages import show
from kept.store.metadata import MeasuredMetadata
from kept.training.health.probe import HealthProbe
from kept.training.keras_api.save_file import (
    MODEL_CHANGED,
    STATE_CHANGED,
    reads_later,
    write_snapshot,
)
from kept.training.request import SaveResult
from kept.training.save.checkpoint_files import files_of, paths_of
from kept.training.save.disk_full import advice, is_full
from kept.training.save.publish import bring_to_disk, publish, workspace_beside
from kept.training.save.python_part import PythonParts
from kept.training.shared.write import SharedWrite
from kept.training.snapshot.variables import variables_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from kept.store.content.file_source import MemoryFile
    from kept.store.store import Store
    from kept.training.destinations.base import Destination, Submitted
    from kept.training.options import Options
    from kept.training.request import SaveRequest
    from kept.training.save.path_template import PathTemplate
    from kept.training.shared.ranges import HeldRanges
    from kept.training.snapshot.frameworks import Variable
    from kept.training.snapshot.shards import ShardedSnapshot
    from kept.training.snapshot.snapshot import Snapshot


class DiskSpace(Protocol):
    """Frees space on a full disk."""

    def make_room(self, store: Store | None, artifact: str) -> bool:
        """Free what retention has deleted; return whether that freed any bytes."""


@dataclass(frozen=True, slots=True)
class WrittenCheckpoint:
    """A checkpoint in its workspace; see Checkpoint in destinations/base.py."""

    request: SaveRequest
    file: MemoryFile | str  # in memory, or the place on the disk
    place: str
    state: tuple[str, ...]
    metadata: MeasuredMetadata

    @property
    def files(self) -> list[MemoryFile | str]:
        """See Checkpoint."""
        pieces = paths_of(self.place) if isinstance(self.file, str) else [self.file]
        return [*pieces, *self.state]

    def on_disk(self) -> dict[str, str]:
        """See Checkpoint."""
        bring_to_disk(self.file, self.place)
        return files_of(self.place)

    def state_on_disk(self) -> dict[str, str]:
        """See Checkpoint."""
        return {os.path.basename(path): path for path in self.state}

    def publish(self) -> None:
        """Move the file to the path of the request; raises OSError."""
        publish(self.file, self.place, self.request.target)


@dataclass(frozen=True, slots=True)
class _Save:
    """What one save writes."""

    request: SaveRequest
    snapshot: Snapshot | None  # None saves the live model
    metadata: MeasuredMetadata
    waiting: Collection[SaveRequest]  # the requests after it
    held: HeldRanges | None = None  # where other ranks hold some of the bytes


class CheckpointWriter:
    """Writes checkpoints to one destination."""

    def __init__(
        self,
        destination: Destination,
        path: PathTemplate,
        space: DiskSpace,
        options: Options,
    ) -> None:
        """Take where checkpoints go; without local files one stays only if the commit fails."""
        self._destination, self._path = destination, path
        self._space, self._keep_local = space, options.leaves_files
        self._health = HealthProbe() if options.on_health != "off" else None
        # Variables that Keras saves although no list of the model has them: later snapshots
        # include them.
        self.extra_variables: list[Variable] = []
        self.python_parts = PythonParts(path)

    def write(
        self,
        request: SaveRequest,
        snapshot: Snapshot | None = None,
        waiting: Collection[SaveRequest] = (),
    ) -> SaveResult:
        """Save a snapshot, or the live model if there is none; an error is part of the result.

        waiting holds the requests after this one. If the disk is full, the writer frees what
        retention has deleted and tries once more.
        """
        metadata = _measured(request, snapshot)
        if self._health is not None:
            request = self._health.measured(request, snapshot)
            metadata = replace(metadata, values=request.metadata, contends=request.contends)
        try:
            if snapshot is not None and snapshot.is_sharded:
                return self._write_shared(_Save(request, snapshot, metadata, waiting))
            request = _with_rank_states(request)
            return self._write_twice(_Save(request, snapshot, metadata, waiting))
        except BaseException as error:  # noqa: BLE001 - the saver raises it on the training thread
            what = f"the checkpoint {request.path} could not be saved in"
            what = f"{what} {self._destination.location}"
            return _failed(SaveResult(request), what, error, self._destination)

    def _write_shared(self, save: _Save) -> SaveResult:
        """Save what all ranks hold; the other ranks learn the outcome, whatever happens."""
        assert save.request.shared is not None
        snapshot = cast("ShardedSnapshot", save.snapshot)
        shared = SharedWrite(save.request.shared)
        try:
            request = _with_rank_states(save.request)
            held = shared.ranges(snapshot)
            result = self._write_twice(replace(save, request=request, held=held))
        except BaseException as error:
            shared.end("", error)
            raise
        shared.end(result.name)
        return result

    def _write_twice(self, save: _Save) -> SaveResult:
        """Save it; on a full disk, free some room and try once more."""
        try:
            return self._write(save)
        except OSError as error:
            if not self._made_room(save.request, error):
                raise
            return self._write(save)

    def _write(self, save: _Save) -> SaveResult:
        """Save it once; raises an error that comes before the commit."""
        request = save.request
        with workspace_beside(request.target, self._path.format) as place:
            file = self._write_file(save, place)
            try:
                state = _write_state(request, save.snapshot, place)
                checkpoint = WrittenCheckpoint(request, file, place, state, save.metadata)
                submitted = self._destination.submit(checkpoint)
            except BaseException:
                if request.publish:
                    publish(file, place, request.target)
                raise
            return self._publish(checkpoint, submitted, save.waiting)

    def _write_file(self, save: _Save, place: str) -> MemoryFile | str:
        request, model, snapshot = save.request, save.request.model, save.snapshot
        if snapshot is None:
            self._path.write(model, place)
            return place
        weights_only = self._path.weights_only
        written = write_snapshot(model, snapshot, place, weights_only=weights_only, held=save.held)
        self.extra_variables += written.missing
        listed = {id(variable) for variable in variables_of(model)} if written.missing else set()
        if any(id(variable) in listed for variable in written.missing):
            show(f"{request.label}: {MODEL_CHANGED}")
        is_later = reads_later(model, place, weights_only=weights_only)
        if is_later and self.python_parts.has_changed(snapshot.python, model):
            show(f"{request.label}: {STATE_CHANGED}")
        return written.file

    def _publish(
        self,
        checkpoint: WrittenCheckpoint,
        submitted: Submitted,
        waiting: Collection[SaveRequest],
    ) -> SaveResult:
        """Publish the file of a committed checkpoint, if one stays at its path."""
        request, error = checkpoint.request, submitted.error
        result = SaveResult(request, submitted.version, submitted.name, committed=True)
        superseded = error is None and self._is_superseded(request, waiting)
        stays = request.publish and (error is not None or (self._keep_local and not superseded))
        if stays:
            try:
                self._publish_with_retry(checkpoint)
            except BaseException as problem:  # noqa: BLE001 - as in write
                error = error or problem
        if error is not None:
            what = f"the checkpoint is committed, but {request.path} could not be saved"
            return _failed(result, what, error, self._destination)
        return replace(result, file=request.path if stays else None, superseded=superseded)

    def _publish_with_retry(self, checkpoint: WrittenCheckpoint) -> None:
        """Publish the file; on a full disk, free some room and try once more."""
        try:
            checkpoint.publish()
        except OSError as error:
            if not self._made_room(checkpoint.request, error):
                raise
            checkpoint.publish()

    def _is_superseded(self, request: SaveRequest, waiting: Collection[SaveRequest]) -> bool:
        """Return whether a waiting request replaces the file at once, so it is not worth writing.

        The first file at a path is always written. With an outbox every file is written already.
        With save_best_only the waiting one may be unhealthy, and then its file is not published.
        """
        is_sure = self._health is None or not request.best_only
        return (
            is_sure
            and any(other.publish and other.target == request.target for other in [*waiting])
            and not self._destination.has_outbox
            and os.path.lexists(request.target)
        )

    def _made_room(self, request: SaveRequest, error: OSError) -> bool:
        store = self._destination.store
        return is_full(error) and self._space.make_room(store, request.artifact)


def _measured(request: SaveRequest, snapshot: Snapshot | None) -> MeasuredMetadata:
    seconds: tuple[str, ...]
    if snapshot is None:  # all of it is a stall, from the hook on
        started, seconds = request.started, ("stall_seconds", "write_seconds")
    else:
        started, seconds = time.perf_counter(), ("write_seconds",)
    return MeasuredMetadata(request.metadata, started, seconds, contends=request.contends)


def _write_state(request: SaveRequest, snapshot: Snapshot | None, place: str) -> tuple[str, ...]:
    """Write the run's state beside the checkpoint; return the paths."""
    if request.state is None:  # always with tf_keras
        return ()
    from kept.training.resume.write_state import write_state

    folder = os.path.dirname(place)
    own = write_state(request.state, request.model, folder, snapshot)
    if not request.rank_states:
        return tuple(own)
    from kept.training.resume.rank_state import write_rank_states

    return (*own, *write_rank_states(request.rank_states, folder, request.model, snapshot))


def _with_rank_states(request: SaveRequest) -> SaveRequest:
    """Return the request with the states that the other ranks give to this save.

    Raises RankMissing if one of them does not answer in time.
    """
    if request.shared is None or request.state is None:
        return request
    return replace(request, rank_states=tuple(request.shared.states(None)))


def _failed(
    result: SaveResult, what: str, error: BaseException, destination: Destination
) -> SaveResult:
    """Return the result with an error that says what failed; Ctrl-C stays what it is."""
    if not isinstance(error, Exception):
        return replace(result, error=error)
    advised = advice(error, destination)
    text = f"{result.request.label}: {what}: {type(error).__name__}: {error}{advised}"
    failure = SaveFailed(text)
    failure.__cause__ = error
    return replace(result, error=failure)

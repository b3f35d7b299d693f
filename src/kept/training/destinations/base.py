"""Where a callback's checkpoints go: the contract that every destination keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kept.store.content.file_source import MemoryFile
    from kept.store.metadata import MeasuredMetadata
    from kept.store.store import Store
    from kept.store.version import Version
    from kept.training.monitor import Metric
    from kept.training.request import SaveRequest


class Checkpoint(Protocol):
    """A checkpoint that is written, before its file gets its final name."""

    @property
    def request(self) -> SaveRequest:
        """What the training thread asked for."""

    @property
    def files(self) -> Sequence[MemoryFile | str]:
        """The checkpoint and the state of the run: in memory, or paths on the disk."""

    @property
    def metadata(self) -> MeasuredMetadata:
        """The metadata of its version."""

    def on_disk(self) -> Mapping[str, str]:
        """Write the checkpoint's file to the disk, durably; return path in the version -> file."""

    def state_on_disk(self) -> Mapping[str, str]:
        """Return the files of the run's state: path in the version -> file."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What a destination did with a checkpoint."""

    version: Version | None  # None if there is no store, or if the version comes later
    name: str  # what the checkpoint is now, for messages
    error: BaseException | None = None  # of a step after the commit of the version


class Destination(Protocol):
    """Takes checkpoints, in order, on the thread that saves them."""

    @property
    def location(self) -> str:
        """A place, for messages."""

    @property
    def store(self) -> Store | None:
        """The store, or None if there is none."""

    @property
    def has_outbox(self) -> bool:
        """Whether checkpoints wait in an outbox on the disk, which needs their files."""

    @property
    def places(self) -> Sequence[str]:
        """Where checkpoints go; no two callbacks of a fit log to one artifact in one place."""

    @property
    def is_named(self) -> bool:
        """Whether an earlier process can have begun an artifact with the default name."""

    def check_sharded(self) -> None:
        """Raise InvalidCheckpoint unless it takes checkpoints whose bytes several processes have.

        Each process stores its own, so such a checkpoint never waits in an outbox.
        """

    def default_name(self) -> str:
        """Return the artifact's name for a callback without name=; for on_train_begin."""

    def begin(self, artifact: str) -> None:
        """Find out whether the artifact can be written; for on_train_begin."""

    def history_step(self) -> int | None:
        """Return the step of the run of W&B; on the training thread, at a save. None elsewhere."""

    def submit(self, checkpoint: Checkpoint) -> Submitted:
        """Commit a checkpoint as a version, or put it into the outbox; durable on return."""

    def changed(self, artifact: str) -> None:
        """Copy to the mirrors what an artifact has got since the last commit; return at once."""

    def best(self, artifact: str, metric: Metric) -> float | None:
        """Return the value of the artifact's best version, or None if it has none by the metric."""

    def value_at(self, artifact: str, files: Mapping[str, str], metric: Metric) -> float | None:
        """Return the metric of the version that holds these files, None if none does.

        files maps paths in a version to files on the disk; it is empty if filepath has none yet.
        """

    def finish(self) -> None:
        """Wait a while for copies that are on their way; for on_train_end."""

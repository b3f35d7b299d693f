"""The values that pass between the steps of a save: the request, and its result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kept.store.origin.origin import UNKNOWN, Origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.store.version import Version
    from kept.training.group.announce import SharedSave
    from kept.training.group.base import Json
    from kept.training.resume.state import State


@dataclass(frozen=True, slots=True)
class Improvement:
    """A value of the monitored metric that beats the best value before it."""

    value: float
    before: float | None


@dataclass(frozen=True, slots=True)
class SaveRequest:
    """A checkpoint that the training thread wants saved."""

    model: Any  # keras.Model
    artifact: str
    path: str  # as filepath gives it, for messages
    target: str  # the same, absolute: the working directory may change before it is written
    aliases: tuple[str, ...]
    metadata: Mapping[str, Any]
    label: str  # "Epoch 3", for messages
    started: float  # time.perf_counter() when its hook began
    improvement: Improvement | None = None  # of this training's best value, if it is the best
    contends: bool = False  # whether its metric may make the version the artifact's best one
    state: State | None = None  # of the run, for resuming
    publish: bool = True  # whether the file appears at path
    best_only: bool = False  # whether the file at path is that of the best checkpoint alone
    history_step: int | None = None  # of the run of W&B
    origin: Origin = UNKNOWN
    shared: SharedSave | None = None  # with the other processes of the run
    rank_states: tuple[Json, ...] = ()  # of these, once the writer thread has them

    def with_metadata(self, more: Mapping[str, Any]) -> SaveRequest:
        """Return the request with more metadata."""
        return replace(self, metadata={**self.metadata, **more})


@dataclass(frozen=True, slots=True)
class SaveResult:
    """What became of a save request; each request has exactly one result."""

    request: SaveRequest
    version: Version | None = None  # None if there is no store, or if it is in the outbox so far
    name: str = ""  # what the checkpoint is now, for messages: "m:v3"
    file: str | None = None  # where the file was published, if nothing failed
    committed: bool = False  # whether the checkpoint is durable: a version, or in the outbox
    superseded: bool = False  # whether the file was not published because the next one replaces it
    dropped: bool = False  # whether on_busy="skip" skipped the checkpoint
    error: BaseException | None = None  # a SaveFailed, or Ctrl-C

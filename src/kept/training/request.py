"""A checkpoint that is due: what the hook hands to the saver, and the saver to the destination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras

    from kept.training.resume.state import State


@dataclass(frozen=True, slots=True)
class SaveRequest:
    """A checkpoint that is due, as the training thread knows it."""

    model: keras.Model
    name: str  # of the artifact
    path: str
    aliases: tuple[str, ...]
    metadata: dict[str, Any]
    label: str  # "Epoch 3", for messages
    started: float  # time.perf_counter() when its hook began
    undo: Callable[[], None]  # takes back what was decided, for when nothing comes of it
    state: State | None = None  # of the run, for resuming
    publish: bool = True  # whether the file is to appear at path

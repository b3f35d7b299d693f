"""The part of a checkpoint that is no variable: configuration, and what layers save themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kept.training.snapshot.file_layout import Structure

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from kept.training.snapshot.frameworks import Variable

    Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class PythonPart:
    """What Keras serializes of a model beside its variables, at the moment of a save."""

    config: str | None = None  # of the whole model as JSON; None if the file has none
    # By the id of the layer, for layers that save in their own way.
    h5_attributes: dict[str, Any] | None = None  # the same, for an .h5 file
    own: dict[int, Arrays] = field(default_factory=dict)
    assets: dict[int, dict[str, bytes]] = field(default_factory=dict)  # by path in its folder
    untracked: Sequence[Variable] = ()  # variables in no list of the model
    structure: Structure = field(default_factory=Structure)
    error: Exception | None = None  # why it could not be taken

"""The name of the artifact that a callback logs to: given, or made from the run's id.

Two callbacks of one fit never log to the same artifact in the same place.
"""

from __future__ import annotations

import functools
import os
import re
import weakref
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidCheckpoint
from kept.messages import show

if TYPE_CHECKING:
    from collections.abc import Sequence

_in_use: weakref.WeakSet[ArtifactName] = weakref.WeakSet()  # between begin and end of a fit
_announced: set[tuple[str, str]] = set()  # (location, artifact) pairs that were printed


class ArtifactName:
    """The name that one callback uses: given, or chosen when a fit begins."""

    def __init__(self, given: str | None) -> None:
        self.value = self._given = given
        self._fit: Any = None
        self._places: frozenset[str] = frozenset()

    def begin(self, fit: Any, places: Sequence[str], default: str) -> str:
        """Choose the name for a fit and return it; fit is an object that its callbacks share.

        Prints the default name once. Raises InvalidCheckpoint if another callback uses the name.
        """
        others = [name for name in _in_use if name is not self and name._fit is fit]  # noqa: SLF001
        taken = {name.value for name in others if name._places & {*places}}  # noqa: SLF001
        if self._given is None:
            names = [default, *(f"{default}_{n}" for n in range(2, len(taken) + 2))]
            self.value = next(name for name in names if name not in taken)
            if (places[0], self.value) not in _announced:
                _announced.add((places[0], self.value))
                show(f"versions go to {self.value} in {places[0]}")
        elif self._given in taken:
            raise InvalidCheckpoint(
                "Two checkpoint callbacks of one fit log to the same artifact; give each a name "
                f"of its own. Received: name={self._given!r}"
            )
        self._fit, self._places = fit, frozenset(places)
        _in_use.add(self)
        return str(self.value)

    def end(self) -> None:
        """Free the name for other callbacks."""
        _in_use.discard(self)


def fit_id(callback: Any) -> object:
    """Return an object that the callbacks of one fit share.

    Keras hands the same params dict to each of them. A loop that the user wrote may set none; two
    such loops with one model may log to the same named artifact, one after the other.
    """
    if callback.params is not None:
        return callback.params
    return callback if callback.name is not None else callback.model


def default_artifact_name() -> str:
    """Return run_<run id>_model, as W&B's callback names its artifact."""
    return artifact_name_of(run_id())


def artifact_name_of(run_id: str) -> str:
    """Return the artifact's name for a run; W&B allows more characters in the id of a run."""
    return f"run_{re.sub(r'[^A-Za-z0-9._-]', '-', run_id)[:100]}_model"


def run_id() -> str:
    """Return $WANDB_RUN_ID, or a random id of eight characters, the same for the whole process."""
    return os.environ.get("WANDB_RUN_ID") or _random_id()


def is_named() -> bool:
    """Return whether the run has a given id, so that an earlier process can have begun it."""
    return bool(os.environ.get("WANDB_RUN_ID"))


@functools.cache
def _random_id() -> str:
    return os.urandom(4).hex()

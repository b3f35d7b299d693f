"""Writing the file that Keras would write, from the live model or from a snapshot of it.

From a snapshot: Keras saves the live model, but inside a StatelessScope that answers every
question for a variable's value with the snapshot's copy. The scope belongs to the thread, so
training goes on beside it and never sees it.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras

    from kept.training.frameworks import HostBuffer, Variable
    from kept.training.snapshot import Snapshot

_saving = threading.Lock()  # Keras changes a model while it saves it as .h5, see below
_SAVEABLES = ("Operation", "Layer", "Functional", "Sequential", "Metric", "Optimizer", "Loss")


def write_checkpoint(model: keras.Model, path: str, *, weights_only: bool) -> None:
    """Save the model to path, as Keras's ModelCheckpoint does."""
    with _saving:
        if weights_only:
            model.save_weights(path, overwrite=True)
            return
        with _compile_config_kept(model):
            model.save(path, overwrite=True)


def write_snapshot(
    model: keras.Model, snapshot: Snapshot, path: str, *, weights_only: bool
) -> list[Variable]:
    """Save the model as it was when the snapshot was taken; for a thread of its own.

    Returns variables that Keras asked for and that the snapshot lacks. They are no weights,
    metrics or optimizer state, so training does not change them; their live values were used.
    """
    _fill_saving_cache()
    with _scope_class()(snapshot) as scope:
        write_checkpoint(model, path, weights_only=weights_only)
    missing: list[Variable] = scope.missing
    return missing


@contextlib.contextmanager
def _compile_config_kept(model: keras.Model) -> Iterator[None]:
    """Undo what Keras does to a model that it saves as .h5.

    It takes the optimizer out of what the model knows of its compilation, so that every .keras
    file saved after that loads with another optimizer (seen in Keras 3.15).
    """
    compiled = getattr(model, "_compile_config", None)
    config = dict(compiled.config) if compiled is not None else {}
    try:
        yield
    finally:
        if compiled is not None:
            compiled.config.update(config)


@functools.cache
def _scope_class() -> Any:
    """Return the scope's class; Keras 3 is imported here, since with tf_keras it need not be."""
    import keras

    class SnapshotScope(keras.StatelessScope):  # type: ignore[misc]  # Keras is untyped
        """Answers with the snapshot's values.

        The values are not given to the constructor, which would copy each to the accelerator.
        """

        def __init__(self, snapshot: Snapshot) -> None:
            super().__init__(initialize_variables=False)
            self._snapshot = snapshot
            self.missing: list[Variable] = []

        def get_current_value(self, variable: Variable) -> HostBuffer | Any | None:
            value = self._snapshot.value(variable)
            if value is None:
                value = super().get_current_value(variable)
            if value is None and not any(variable is known for known in self.missing):
                self.missing.append(variable)
            return value

    return SnapshotScope


def _fill_saving_cache() -> None:
    """Fill, for this thread, what Keras's saving code looks up for every object it visits.

    Two reasons. Keras makes a throw-away Optimizer to find out which attributes to skip, and
    inside the scope its variables cannot be created. And it stores the result under one name and
    looks it up under another (seen in Keras 3.13 to 3.15), so it makes it again for every layer.

    The one private part of Keras that kept touches; tests cover each supported version.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from keras.src.backend.common import global_state
        from keras.src.saving import saving_lib

        for kind in _SAVEABLES:
            found = f"saving_attr_skiplist_{kind}"
            if global_state.get_global_attribute(found) is None:
                global_state.set_global_attribute(found, saving_lib.get_attr_skipset(kind))

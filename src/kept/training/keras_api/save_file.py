"""Writing the file that Keras would write, from the live model or from a snapshot of it.

From a snapshot: Keras saves the live model, but inside a StatelessScope that answers every
question for a variable's value with the snapshot's copy. The scope belongs to the thread, so
training goes on beside it and never sees it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from kept.training.snapshot.variables import wraps_modules

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras

    from kept.store.content.file_source import MemoryFile
    from kept.training.snapshot.frameworks import Variable
    from kept.training.snapshot.snapshot import Snapshot

MODEL_CHANGED = (
    "the model got other variables while its checkpoint was written, which holds some of them; "
    "wait() on the callback before you change the model, or background=False"
)
_saving = threading.Lock()  # Keras changes a model while it saves it as .h5, see below
# A forked child lacks the thread that would release it.
os.register_at_fork(after_in_child=_saving._at_fork_reinit)  # type: ignore[attr-defined]  # noqa: SLF001


class Written(NamedTuple):
    """A file that Keras wrote."""

    file: MemoryFile | str  # or its path on the disk; in memory it uses the snapshot's
    # Variables that Keras asked for and the snapshot lacks. They are no weights, metrics or
    # optimizer state, so training does not change them; their live values were used.
    missing: list[Variable]


def cannot_snapshot(model: keras.Model) -> str | None:
    """Return why the model cannot be saved while training goes on, None if it can."""
    if wraps_modules(model):
        return "layers that wrap a torch.nn.Module save its tensors, which are no variables"
    return None


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
) -> Written:
    """Save the model as it was when the snapshot was taken; for a thread of its own.

    A .keras file is made in memory, of the snapshot's own bytes, if this version of Keras is known
    well enough. Any other file Keras writes to path: an HDF5 file alone is laid out in another way
    on a disk than in memory.
    """
    from kept.training.keras_api import private_api
    from kept.training.keras_api.snapshot_scope import SnapshotScope

    private_api.fill_saving_cache()
    with private_api.tensorflow_not_imported(), SnapshotScope(snapshot) as scope:
        if not weights_only and private_api.can_compose(model, path):
            with _saving:
                file = private_api.compose_model(model, os.path.basename(path), scope)
            return Written(file, scope.missing)
        write_checkpoint(model, path, weights_only=weights_only)
        return Written(path, scope.missing)


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

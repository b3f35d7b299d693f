"""Writes the file that Keras would write, from the live model or from a snapshot of it.

From a snapshot: Keras saves the live model inside a StatelessScope. The scope returns the
snapshot's copy as the value of a variable. It belongs to one thread, so it does not affect
training in another. The configuration is that of the snapshot, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.fork_safe_lock import fork_safe_lock
from kept.training.snapshot.variables import layers_of, wraps_modules

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras

    from kept.store.content.file_source import MemoryFile
    from kept.training.shared.ranges import HeldRanges
    from kept.training.snapshot.frameworks import Variable
    from kept.training.snapshot.python_part import PythonPart
    from kept.training.snapshot.snapshot import Snapshot

MODEL_CHANGED = (
    "the model got other variables while its checkpoint was written, and the checkpoint has some "
    "of them; call wait() of the callback before you change the model, or pass background=False"
)
STATE_CHANGED = (
    "the model's configuration or Python state changed while its checkpoint was written, and the "
    "checkpoint may have the later one: the model's own method reads it then; call wait() of the "
    "callback before you change the model, or pass background=False"
)
_replacing = fork_safe_lock()  # held while functions of Keras are replaced
_saving = fork_safe_lock()  # because Keras changes a model while it saves it as .h5, see below


class Written(NamedTuple):
    """A file that Keras wrote."""

    file: MemoryFile | str  # which refers to the snapshot's memory, or a path on the disk
    # Variables that Keras saved and the snapshot lacks. They are no weights, metrics or optimizer
    # state, so training does not change them, and the file has their live values.
    missing: list[Variable]


def cannot_snapshot(model: keras.Model) -> str | None:
    """Return why the model cannot be saved during training, None if it can."""
    if wraps_modules(model):
        return "layers that wrap a torch.nn.Module save its tensors, which are no variables"
    return None


def reads_later(model: keras.Model, path: str, *, weights_only: bool) -> bool:
    """Return whether a file may have Python state of the moment when it is written.

    A method of the model may read it then. Of other files, all is taken at the moment of the save.
    """
    import keras

    from kept.training.keras_api import private_api

    if weights_only:
        return not private_api.can_write_weights(model, path)
    if path.endswith(".h5"):
        return type(model).save is not keras.Model.save
    return not private_api.can_compose(model, path)


def cannot_share(model: keras.Model, path: str, *, weights_only: bool) -> str | None:
    """Return why no several processes may have the bytes of the model's file, None if they may."""
    from kept.training.keras_api import private_api

    if weights_only or not path.endswith(".keras"):
        return "weights that are sharded across processes need a .keras file"
    if not private_api.can_compose(model, path):
        return (
            "weights that are sharded across processes need a built model without a save method "
            f"of its own, and Keras {private_api.KNOWN_TEXT}"
        )
    if any(getattr(layer, "lora_enabled", False) for layer in layers_of(model)):
        return "a layer with LoRA saves a merged kernel, which no process has as a whole"
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
    model: keras.Model,
    snapshot: Snapshot,
    path: str,
    *,
    weights_only: bool,
    held: HeldRanges | None = None,
) -> Written:
    """Save the model as it was when the snapshot was taken; any thread may call it.

    Pass held if other processes have some of the bytes: for a file that cannot_share allows.

    With a version of Keras that private_api knows, a .keras file is made in memory, from the
    snapshot's memory. Keras writes any other file to path, because it lays out an HDF5 file on a
    disk in another way than in memory.
    """
    from kept.training.keras_api import private_api
    from kept.training.keras_api.snapshot_scope import SnapshotScope

    if snapshot.python.error is not None:
        raise snapshot.python.error
    private_api.fill_saving_cache()
    with private_api.tensorflow_not_imported(), SnapshotScope(snapshot) as scope:
        if not weights_only and private_api.can_compose(model, path):
            with _saving:
                file = private_api.compose_model(model, os.path.basename(path), scope, held)
            return Written(file, scope.missing)
        assert held is None, "only a .keras file can have bytes of other processes"
        if weights_only and private_api.can_write_weights(model, path):
            private_api.write_weights(model, path, scope)
        else:
            with _recorded_config(model, snapshot.python):
                write_checkpoint(model, path, weights_only=weights_only)
        return Written(path, scope.missing)


def serialize_h5_attributes(model: keras.Model) -> dict[str, Any]:
    """Return the attributes of an .h5 file: the configuration, and that of the compilation."""
    from keras.src.legacy.saving import json_utils, saving_options, saving_utils

    with _compile_config_kept(model), saving_options.keras_option_scope(use_legacy_config=True):
        found = saving_utils.model_metadata(model)
    return {
        name: json.dumps(value, default=json_utils.get_json_type).encode()
        if isinstance(value, (dict, list, tuple))
        else value
        for name, value in found.items()
    }


@contextlib.contextmanager
def _recorded_config(model: keras.Model, part: PythonPart) -> Iterator[None]:
    """Give Keras the configuration in a part while this thread saves the model.

    Keras writes .h5 files, and all files of a model with a save method of its own.
    """
    from keras.src.legacy.saving import saving_utils
    from keras.src.saving import saving_lib

    thread = threading.get_ident()
    of_h5: Any = saving_utils.model_metadata
    of_keras: Any = getattr(saving_lib, "_serialize_model_as_json", None)

    def is_asked_for(which: object) -> bool:
        return which is model and threading.get_ident() == thread

    def h5_attributes(which: object, *args: Any, **options: Any) -> Any:
        if part.h5_attributes is not None and is_asked_for(which):
            return part.h5_attributes
        return of_h5(which, *args, **options)

    def as_json(which: object) -> Any:
        if part.config is not None and is_asked_for(which):
            return part.config, of_keras(None)[1]
        return of_keras(which)

    with _replacing:
        saving_utils.model_metadata = h5_attributes
        if of_keras is not None:
            saving_lib._serialize_model_as_json = as_json  # noqa: SLF001
        try:
            yield
        finally:
            saving_utils.model_metadata = of_h5
            if of_keras is not None:
                saving_lib._serialize_model_as_json = of_keras  # noqa: SLF001


@contextlib.contextmanager
def _compile_config_kept(model: keras.Model) -> Iterator[None]:
    """Restore the compile config of a model, which Keras changes when it saves it as .h5.

    Keras removes the optimizer from it, so every .keras file that is saved later loads with
    another optimizer (seen in Keras 3.15).
    """
    compiled = getattr(model, "_compile_config", None)
    config = dict(compiled.config) if compiled is not None else {}
    try:
        yield
    finally:
        if compiled is not None:
            compiled.config.update(config)

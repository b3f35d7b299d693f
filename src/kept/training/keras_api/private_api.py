"""The private parts of Keras that kept uses to write files; private_fit.py has those of a fit.

Keras makes the HDF5 file in new memory each time, copies it into the archive, and the archive to
the disk. This module makes the same bytes (tests compare them) from the snapshot's memory. It
does the steps of saving_lib._save_model_to_fileobj, for the versions of Keras that have this code.
Any other version writes its file itself, which is slower.
"""
# ruff: noqa: SLF001 - private parts are what this module is for

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import keras

from kept.fork_safe_lock import fork_safe_lock
from kept.store.content.chunking import MappedFile
from kept.store.content.file_source import MemoryFile
from kept.training.keras_api.composed_file import ComposedFile, LastingMemory
from kept.training.keras_api.fast_zip import Archive
from kept.training.keras_api.hdf5_state import Saved, write_state
from kept.training.snapshot.file_layout import IN_MEMORY, ON_DISK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zipfile import ZipFile

    from kept.training.keras_api.snapshot_scope import SnapshotScope
    from kept.training.shared.ranges import HeldRanges

KNOWN = ((3, 10), (3, 15))  # oldest and newest minor version that has this code
KNOWN_TEXT = " to ".join(f"{major}.{minor}" for major, minor in KNOWN)
_replacing = fork_safe_lock()  # held while a part of Keras is replaced, or comes back
_saves: list[None] = []  # one for each save that wants it replaced
_SAVEABLES = ("Operation", "Layer", "Functional", "Sequential", "Metric", "Optimizer", "Loss")


def can_compose(model: keras.Model, path: str) -> bool:
    """Return whether compose_model makes the file that Keras would write to path."""
    is_plain = type(model).save is keras.Model.save
    return path.endswith(".keras") and is_plain and model.built and is_known(keras.__version__)


def compose_model(
    model: keras.Model, name: str, scope: SnapshotScope, held: HeldRanges | None = None
) -> MemoryFile:
    """Make a .keras file from a snapshot, in its scope.

    Of held ranges the digests and checksums are known, and other processes may have the bytes.
    """
    from keras.src.saving import saving_lib as lib

    config = scope.python.config
    if config is None:
        config = serialize_config(model)
    _, metadata = lib._serialize_model_as_json(None)  # the version of Keras, and the time
    file = ComposedFile(LastingMemory())  # the parts of the HDF5 file do not change
    archive, structure = Archive(file, held), scope.python.structure
    with archive.zip:
        for member, text in ((lib._METADATA_FILENAME, metadata), (lib._CONFIG_FILENAME, config)):
            with archive.open(member) as out:
                out.write(text.encode())
        filled = structure.filled(IN_MEMORY, scope.snapshot)
        if filled is None:
            _compose_weights(model, archive, scope)
        else:
            archive.add(lib._VARS_FNAME_H5, filled)
    parts = file.parts()
    if held is not None:
        return held.file(name, parts)
    layout = structure.layouts.get(IN_MEMORY)
    if layout is None:
        return MemoryFile(name, parts)
    return MappedFile(name, parts, archive.places({lib._VARS_FNAME_H5: layout.tensors}))


def _compose_weights(model: keras.Model, archive: Archive, scope: SnapshotScope) -> None:
    from keras.src.saving import saving_lib as lib

    saved = Saved(scope.python)
    with _assets(lib, archive.zip, saved) as assets:
        weights = ComposedFile(scope)
        places = write_state(model, weights, assets, scope, saved)
        archive.add(lib._VARS_FNAME_H5, weights.parts())
    scope.python.structure.record(IN_MEMORY, weights, places, scope.snapshot)


def can_write_weights(model: keras.Model, path: str) -> bool:
    """Return whether write_weights makes the file that Keras would write to path."""
    is_plain = type(model).save_weights is keras.Model.save_weights
    known = is_plain and model.built and is_known(keras.__version__)
    return path.endswith(".weights.h5") and known


def write_weights(model: keras.Model, path: str, scope: SnapshotScope) -> None:
    """Write a .weights.h5 file from a snapshot, in its scope."""
    structure = scope.python.structure
    filled = structure.filled(ON_DISK, scope.snapshot)
    if filled is not None:
        with open(path, "wb") as file:
            file.writelines(filled)
        return
    places = write_state(model, path, None, scope, Saved(scope.python))
    with open(path, "rb") as written:
        structure.record(ON_DISK, written, places, scope.snapshot)


def serialize_config(model: keras.Model) -> str:
    """Return the config.json of a model."""
    from keras.src.saving import saving_lib as lib

    return str(lib._serialize_model_as_json(model)[0])


def serialize_compile_config(model: keras.Model) -> str:
    """Return the entry "compile_config" of a model's config.json."""
    from keras.src.saving import serialization_lib as lib

    with lib.ObjectSharingScope():
        return json.dumps(lib.serialize_dict(model.get_compile_config()))


def fill_saving_cache() -> None:
    """Fill this thread's cache of the attributes that Keras skips when it saves an object.

    Two reasons. Keras makes a temporary Optimizer to find these attributes, and inside a
    StatelessScope its variables cannot be created. Also, Keras stores the result under one name
    and looks it up under another (seen in Keras 3.10 to 3.15), so it repeats the work for every
    layer.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from keras.src.backend.common import global_state
        from keras.src.saving import saving_lib

        for kind in _SAVEABLES:
            found = f"saving_attr_skiplist_{kind}"
            if global_state.get_global_attribute(found) is not None:
                continue
            # Keras 3.10 does not know "Operation".
            with contextlib.suppress(ValueError), _without_distribution():
                global_state.set_global_attribute(found, saving_lib.get_attr_skipset(kind))


@contextlib.contextmanager
def _without_distribution() -> Iterator[None]:
    """Let Keras create variables of this process: with a distribution, all must create them."""
    import keras

    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


@contextlib.contextmanager
def tensorflow_not_imported() -> Iterator[None]:
    """Save without importing TensorFlow, which Keras imports if it is installed.

    Keras checks whether an object has a type of TensorFlow. None has, if the process has not
    imported TensorFlow. The import takes seconds, for which training on JAX or torch would wait.
    """
    lib: Any = sys.modules.get("keras.src.saving.serialization_lib")
    if getattr(lib, "tf", None) is None:
        yield
        return
    with _replacing:  # not during the save: the training thread must not wait for a writer
        if not _saves:
            lib.tf = _IfImported(lib.tf)
        _saves.append(None)
    try:
        yield
    finally:
        with _replacing:
            _saves.pop()
            if not _saves:
                lib.tf = lib.tf.lazy


class _IfImported:
    """Keras's lazy TensorFlow, the same for every thread, except that checks import nothing."""

    def __init__(self, lazy: Any) -> None:
        self.lazy = lazy

    @property
    def available(self) -> bool:
        return "tensorflow" in sys.modules and bool(self.lazy.available)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lazy, name)


def is_known(version: str) -> bool:
    """Return whether a version of Keras has this code."""
    major, minor = version.split(".")[:2]
    oldest, newest = KNOWN
    return oldest <= (int(major), int(minor)) <= newest


@contextlib.contextmanager
def _assets(lib: Any, archive: ZipFile, saved: Saved) -> Iterator[Any]:
    """Yield the store for assets of layers, such as vocabularies; it adds them at the end."""

    class Store(lib.DiskIOStore):  # type: ignore[misc]  # Keras is untyped
        def make(self, path: str) -> str:
            folder = str(super().make(path))
            files = saved.part.assets.get(saved.asked)
            if files is None:
                return folder
            for name, content in files.items():
                os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
                with open(os.path.join(folder, name), "wb") as file:
                    file.write(content)
            return unused  # where the layer writes those of now

    with tempfile.TemporaryDirectory(prefix="kept-") as unused:
        assets = Store(lib._ASSETS_DIRNAME, archive=archive, mode="w")
        try:
            yield assets
        finally:
            assets.close()

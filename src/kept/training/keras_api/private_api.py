"""The private parts of Keras that kept uses for writing files; nowhere else are any.

Keras makes the HDF5 file in memory that is new each time, copies it into the archive, and that to
the disk. What is here makes the same bytes (tests compare them) of the snapshot's own memory. It
does what saving_lib._save_model_to_fileobj does, and is used with the versions of Keras whose
code that is; any other version writes its file itself, at its own pace.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import keras

from kept.store.content.file_source import MemoryFile
from kept.training.keras_api.composed_file import ComposedFile
from kept.training.keras_api.fast_zip import zipfile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zipfile import ZipFile

    from kept.bucket.base import Buffer
    from kept.training.keras_api.snapshot_scope import SnapshotScope

KNOWN = ((3, 13), (3, 15))  # oldest and newest minor version whose code this is
_replacing = threading.Lock()  # one at a time puts something in Keras's place, and takes it away
# A forked child lacks the thread that would release it.
os.register_at_fork(after_in_child=_replacing._at_fork_reinit)  # type: ignore[attr-defined]  # noqa: SLF001
_SAVEABLES = ("Operation", "Layer", "Functional", "Sequential", "Metric", "Optimizer", "Loss")


def can_compose(model: keras.Model, path: str) -> bool:
    """Return whether compose_model makes what Keras would write to path."""
    is_plain = type(model).save is keras.Model.save
    return path.endswith(".keras") and is_plain and model.built and _is_known(keras.__version__)


def compose_model(model: keras.Model, name: str, scope: SnapshotScope) -> MemoryFile:
    """Make a .keras file of a snapshot, in its scope."""
    from keras.src.saving import saving_lib as lib

    config, metadata = lib._serialize_model_as_json(model)  # noqa: SLF001
    file = ComposedFile(memoryview)  # holds what the HDF5 file holds
    with zipfile.ZipFile(file, "w") as archive:
        for member, text in ((lib._METADATA_FILENAME, metadata), (lib._CONFIG_FILENAME, config)):  # noqa: SLF001
            with archive.open(member, "w") as out:
                out.write(text.encode())
        with _assets(lib, archive) as assets:
            weights = ComposedFile(scope.find)
            _write_state(lib, model, weights, assets, scope)
            _add(archive, lib._VARS_FNAME_H5, weights.parts())  # noqa: SLF001
    return MemoryFile(name, file.parts())


def fill_saving_cache() -> None:
    """Fill, for this thread, what Keras's saving code looks up for every object it visits.

    Two reasons. Keras makes a throw-away Optimizer to find out which attributes to skip, and
    inside a StatelessScope its variables cannot be created. And it stores the result under one
    name and looks it up under another (seen in Keras 3.13 to 3.15), so it makes it again for
    every layer.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from keras.src.backend.common import global_state
        from keras.src.saving import saving_lib

        for kind in _SAVEABLES:
            found = f"saving_attr_skiplist_{kind}"
            if global_state.get_global_attribute(found) is None:
                global_state.set_global_attribute(found, saving_lib.get_attr_skipset(kind))


@contextlib.contextmanager
def tensorflow_not_imported() -> Iterator[None]:
    """Save without importing TensorFlow, which Keras does where it is installed.

    It wants to know whether what it serializes is of TensorFlow's types. Nothing is, where nobody
    has imported it. The import takes seconds, most of them with the interpreter's lock, and
    hundreds of MB; training on JAX or torch would have to wait for that.
    """
    try:
        from keras.src.saving import serialization_lib as lib
    except ImportError:  # another Keras
        lib = None
    with _replacing:
        lazy = getattr(lib, "tf", None)
        if lazy is None:
            yield
            return
        lib.tf = _IfImported(lazy)
        try:
            yield
        finally:
            lib.tf = lazy


class _IfImported:
    """Keras's way to TensorFlow, true to it on every thread, but it imports nothing to look."""

    def __init__(self, lazy: Any) -> None:
        self._lazy = lazy

    @property
    def available(self) -> bool:
        return "tensorflow" in sys.modules and bool(self._lazy.available)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lazy, name)


def _is_known(version: str) -> bool:
    major, minor = version.split(".")[:2]
    oldest, newest = KNOWN
    return oldest <= (int(major), int(minor)) <= newest


@contextlib.contextmanager
def _assets(lib: Any, archive: ZipFile) -> Iterator[Any]:
    """Yield what takes the assets of layers (vocabularies, say); they are added at the end."""
    assets = lib.DiskIOStore(lib._ASSETS_DIRNAME, archive=archive, mode="w")  # noqa: SLF001
    try:
        yield assets
    finally:
        assets.close()


def _write_state(
    lib: Any, model: keras.Model, file: ComposedFile, assets: Any, scope: SnapshotScope
) -> None:
    """Write the HDF5 file of all variables."""
    import h5py

    class Store(lib.H5IOStore):  # type: ignore[misc]  # Keras is untyped
        def _get_h5_file(self, *_: Any, **__: Any) -> h5py.File:
            return h5py.File(file, "w")

        def __setitem__(self, key: str, value: Any) -> None:
            array = scope.array(value)
            if array is None:
                super().__setitem__(key, value)
                return
            # What Keras does, but for a copy into new memory.
            if not self._h5_entry_initialized:
                self._create_h5_group(self._h5_entry_path)
            self._h5_entry_group[key] = array

    store = Store(lib._VARS_FNAME_H5, mode="w")  # noqa: SLF001
    try:
        lib._save_state(  # noqa: SLF001
            model,
            weights_store=store,
            assets_store=assets,
            inner_path="",
            visited_saveables=set(),
        )
    finally:
        store.close()


def _add(archive: ZipFile, name: str, parts: list[Buffer]) -> None:
    """Do what ZipFile.writestr does with bytes in one piece."""
    info = zipfile.ZipInfo(name, time.localtime(time.time())[:6])
    info.external_attr = 0o600 << 16
    info.file_size = sum(map(len, parts))
    with archive.open(info, "w") as member:
        for part in parts:
            member.write(part)

"""The HDF5 file of a model's variables, as Keras writes it; a private part of Keras.

h5py makes the type, the shape and the properties of a dataset again for each one, which takes half
of the time of a model of many small layers. This module makes each once; the file has the same
bytes (tests compare them).
"""
# ruff: noqa: SLF001 - private parts are what this module is for

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from kept.training.snapshot.file_layout import Place
from kept.training.snapshot.variables import all_optimizers

if TYPE_CHECKING:
    import h5py
    import numpy as np

    from kept.training.keras_api.composed_file import ComposedFile
    from kept.training.keras_api.snapshot_scope import SnapshotScope
    from kept.training.snapshot.python_part import PythonPart


class Saved(set[int]):
    """The objects that Keras has saved; before it saves one, it asks whether it is one of them.

    So this knows whose turn it is, and what that object had saved at the moment of the snapshot.
    """

    def __init__(self, part: PythonPart) -> None:
        super().__init__()
        self.part = part
        self.asked = 0  # the id of the object whose turn it is

    def __contains__(self, which: object) -> bool:
        self.asked = int(str(which))
        return super().__contains__(which)


def write_state(
    model: keras.Model, file: ComposedFile | str, assets: Any, scope: SnapshotScope, saved: Saved
) -> list[Place]:
    """Write the HDF5 file of all variables; return the places of all values in it."""
    from keras.src.saving import saving_lib as lib

    places = _Places(model, saved)
    store = _store(file, scope, saved, places)
    try:
        lib._save_state(
            model, weights_store=store, assets_store=assets, inner_path="", visited_saveables=saved
        )
    finally:
        store.close()
    return places.found


class _Places:
    """Takes the place of each value in the HDF5 file, and the variable whose value it is."""

    def __init__(self, model: keras.Model, saved: Saved) -> None:
        self.found: list[Place] = []
        theirs = keras.optimizers.Optimizer.save_own_variables
        optimizers = all_optimizers(model)
        optimizers += [one.inner_optimizer for one in optimizers if hasattr(one, "inner_optimizer")]
        plain = (one for one in optimizers if type(one).save_own_variables is theirs)
        self.saved_as_copies = {id(one): one.variables for one in plain}
        self._saved = saved

    def add(self, dataset: h5py.h5d.DatasetID, key: str, value: Any) -> None:
        start = dataset.get_offset()
        if not isinstance(value, keras.Variable):  # as optimizers save theirs
            variables = self.saved_as_copies.get(self._saved.asked)
            value = None if variables is None else variables[int(key)]
        if start is not None:  # else it is empty
            self.found.append(Place(start, value))


class _Datasets:
    """Makes datasets as `group[key] = array` of h5py does."""

    def __init__(self) -> None:
        from h5py import h5p

        self._properties = h5p.create(h5p.DATASET_CREATE)
        self._properties.set_obj_track_times(False)
        self._types: dict[np.dtype[Any], h5py.h5t.TypeID] = {}
        self._spaces: dict[tuple[int, ...], h5py.h5s.SpaceID] = {}

    def add(self, group: h5py.Group, key: str, array: np.ndarray[Any, Any]) -> h5py.h5d.DatasetID:
        from h5py import h5d, h5o, h5s, h5t

        kind, shape = array.dtype, array.shape
        if kind not in self._types:
            self._types[kind] = h5t.py_create(kind, logical=1)
        if shape not in self._spaces:
            self._spaces[shape] = h5s.create_simple(shape)
        types = self._types[kind], self._spaces[shape]
        made = h5d.create(group.id, None, *types, dcpl=self._properties)
        made.write(h5s.ALL, h5s.ALL, array)
        name, properties = group._e(key, lcpl=True)
        h5o.link(made, group.id, name, lcpl=properties)
        return made


def _store(file: ComposedFile | str, scope: SnapshotScope, saved: Saved, places: _Places) -> Any:
    """Return the store for values of variables, which Keras fills."""
    import h5py
    from keras.src.saving import saving_lib as lib

    datasets = _Datasets()

    class Store(lib.H5IOStore):  # type: ignore[misc]  # Keras is untyped
        def _get_h5_file(self, *_: Any, **__: Any) -> h5py.File:
            return h5py.File(file, "w")

        def make(self, *args: Any, **options: Any) -> Any:
            made = super().make(*args, **options)
            own = saved.part.own.get(saved.asked)
            scope.copies = saved.asked in places.saved_as_copies
            if own is None:
                return made
            for key, value in own.items():
                made[key] = value
            return {}  # where the layer writes what it has now

        def __setitem__(self, key: str, value: Any) -> None:
            array = scope.array(value)
            if array is None:
                with scope.copying(value):
                    super().__setitem__(key, value)
                written = h5py.h5d.open(self._h5_entry_group.id, key.encode())
            else:  # as Keras does, without a copy into new memory
                if not self._h5_entry_initialized:
                    self._create_h5_group(self._h5_entry_path)
                written = datasets.add(self._h5_entry_group, key, array)
            places.add(written, key, value)

    return Store(lib._VARS_FNAME_H5, mode="w")

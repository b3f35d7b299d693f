"""Takes the part of a model that is no variable, on the training thread, at the moment of a save.

What has not changed since the save before, or since the first batch, is not serialized again. Where
no sign of change is sure (a layer with a get_config, save_own_variables or save_assets that is not
Keras's), it always is.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kept.training.data.running_fit import when_over
from kept.training.keras_api.formats import H5
from kept.training.save.config_text import ConfigText
from kept.training.snapshot.change import Look, is_of_keras
from kept.training.snapshot.file_layout import Structure
from kept.training.snapshot.python_part import PythonPart

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import keras

    from kept.training.keras_api.snapshot_scope import SnapshotScope
    from kept.training.save.path_template import PathTemplate
    from kept.training.snapshot.frameworks import Variable
    from kept.training.snapshot.python_part import Arrays
    from kept.training.snapshot.snapshot import Snapshot


class PythonParts:
    """Takes one PythonPart for each save, and remembers the last one."""

    def __init__(self, path: PathTemplate) -> None:
        """Take the path of the checkpoints, which says what their files have."""
        self._path = path
        self._fit = object()  # another one for each fit
        self.forget()

    def forget(self) -> None:
        """Free what is remembered: with it goes the model."""
        self._look: Look | None = None
        self._own_savers: list[Any] = []  # layers that save in their own way
        self._structure = Structure()
        self._config: ConfigText | None = None
        self._last: PythonPart | None = None

    def prepare(self, model: keras.Model, snapshot: Snapshot, hidden: Sequence[Variable]) -> None:
        """Serialize what will hardly change before the first save, which then stalls less.

        The snapshot has no values, so the live ones are read. All is freed when the fit is over.
        """
        self._fit = fit = object()
        when_over(lambda: self.forget() if self._fit is fit else None)
        try:
            with self._saving(snapshot) as scope:
                self._look_at(model)
                if not self._own_savers and self._is_sure:
                    self._last = replace(self._serialized(model, scope, None), untracked=hidden)
        except Exception:  # noqa: BLE001 - the save has the same failure, and reports it
            self.forget()

    def unchanged(self, model: keras.Model) -> PythonPart | None:
        """Return the last part if no Python state has changed since it was taken."""
        return self._last if self._look is not None and self._look.is_still_true(model) else None

    def has_changed(self, part: PythonPart, model: keras.Model) -> bool:
        """Return whether Python state was seen to change since a part was taken; any thread."""
        look = self._look
        if look is None:  # the fit is over
            return False
        return part.structure is not self._structure or look.has_changed(model)

    def take(
        self,
        model: keras.Model,
        snapshot: Snapshot,
        hidden: Sequence[Variable],
        before: PythonPart | None,
    ) -> PythonPart:
        """Return the part of the model as it is now; a failure is in its error.

        `hidden` are its untracked variables, and `before` is what `unchanged` returned.
        """
        if before is not None and not self._own_savers and self._has_config_of(snapshot):
            return before
        try:
            with self._saving(snapshot) as scope:
                if before is None:
                    self._look_at(model)
                part = self._serialized(model, scope, before)
            self._last = replace(part, untracked=hidden)
        except Exception as error:  # noqa: BLE001 - raised where the file is written
            self.forget()
            return PythonPart(error=error)
        return self._last

    @contextlib.contextmanager
    def _saving(self, snapshot: Snapshot) -> Iterator[SnapshotScope]:
        from kept.training.keras_api.private_api import fill_saving_cache, tensorflow_not_imported
        from kept.training.keras_api.snapshot_scope import SnapshotScope

        fill_saving_cache()
        with tensorflow_not_imported(), SnapshotScope(snapshot) as scope:
            yield scope

    def _look_at(self, model: keras.Model) -> None:
        self._look = Look(model)
        self._own_savers = [one for one in self._look.objects() if _saves_in_own_way(one)]
        is_fixed = self._look.is_walked_alike and not self._own_savers
        self._structure = Structure(is_sure=is_fixed)
        self._config = None

    @property
    def _is_sure(self) -> bool:
        return self._look is not None and self._look.is_sure

    def _serialized(
        self, model: keras.Model, scope: SnapshotScope, before: PythonPart | None
    ) -> PythonPart:
        from kept.training.keras_api.save_file import serialize_h5_attributes

        if self._path.format is H5:  # it has no other Python state
            attributes = serialize_h5_attributes(model)
            return PythonPart(h5_attributes=attributes, structure=self._structure)
        assets, config = {}, None
        own = {id(one): _own_variables_of(one, scope) for one in self._own_savers}
        if not self._path.weights_only:
            assets = {id(one): _assets_of(one, before) for one in self._own_savers}
            config = self._config_of(model, scope)
        return PythonPart(config, own=own, assets=assets, structure=self._structure)

    def _config_of(self, model: keras.Model, scope: SnapshotScope) -> str:
        """Return the configuration in a scope; it is made again if it is not surely the same."""
        known = self._config if self._is_sure else None
        if known is None or not known.update(model, scope):
            known = self._config = ConfigText(model, scope)
        return known.text

    def _has_config_of(self, snapshot: Snapshot) -> bool:
        """Return whether the last configuration is that of a snapshot with the same state."""
        if self._path.weights_only:
            return True
        if self._path.format is H5:  # it is always serialized again
            return False
        return self._is_sure and self._config is not None and self._config.is_of(snapshot)


def _saves_in_own_way(one: Any) -> bool:
    """Return whether what an object saves may be more than a list of its variables."""
    own = getattr(type(one), "save_own_variables", None)
    return own is not None and (not is_of_keras(own) or hasattr(type(one), "save_assets"))


class _OwnVariables(dict[str, Any]):
    """Takes what a layer saves: the snapshot's memory if it is that of a variable, or a copy."""

    def __init__(self, scope: SnapshotScope) -> None:
        super().__init__()
        self._scope = scope

    def __setitem__(self, key: str, value: Any) -> None:
        import keras

        array = self._scope.array(value)
        if array is None:
            array = np.array(keras.ops.convert_to_numpy(value))
        super().__setitem__(key, array)


def _own_variables_of(layer: Any, scope: SnapshotScope) -> Arrays:
    store = _OwnVariables(scope)
    layer.save_own_variables(store)
    return dict(store)


def _assets_of(layer: Any, before: PythonPart | None) -> dict[str, bytes]:
    """Return the files that a layer saves; those of Keras's layers are known if nothing changed."""
    if not hasattr(layer, "save_assets"):
        return {}
    known = None if before is None else before.assets.get(id(layer))
    if known is not None and is_of_keras(type(layer).save_assets):
        return known
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        layer.save_assets(folder)
        return dict(_files_in(folder))


def _files_in(folder: str) -> Iterable[tuple[str, bytes]]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with open(path, "rb") as file:
                yield os.path.relpath(path, folder), file.read()

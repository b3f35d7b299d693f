"""Takes the part of a model that is no variable, on the training thread, at the moment of a save.

What has not changed since the save before is not serialized again. Where no sign of change is sure
(a layer with a get_config, save_own_variables or save_assets that is not Keras's), it always is.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kept.training.snapshot.change import Look, is_of_keras
from kept.training.snapshot.python_part import PythonPart

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import keras

    from kept.training.keras_api.snapshot_scope import SnapshotScope
    from kept.training.snapshot.frameworks import Variable
    from kept.training.snapshot.python_part import Arrays
    from kept.training.snapshot.snapshot import Snapshot


class PythonParts:
    """Takes one PythonPart for each save, and remembers the last one."""

    def __init__(self, *, weights_only: bool) -> None:
        self._weights_only = weights_only
        self._look: Look | None = None
        self._own_savers: list[Any] = []  # layers that save in their own way
        self._last: PythonPart | None = None
        self._read: list[tuple[Variable, bytes]] = []  # variables in the last config; their values

    def forget(self) -> None:
        """Free what is remembered: with it goes the model."""
        self._look = self._last = None
        self._own_savers, self._read = [], []

    def unchanged(self, model: keras.Model) -> PythonPart | None:
        """Return the last part if no Python state has changed since it was taken."""
        return self._last if self._look is not None and self._look.is_still_true(model) else None

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
        from kept.training.keras_api.private_api import fill_saving_cache, tensorflow_not_imported
        from kept.training.keras_api.snapshot_scope import SnapshotScope

        try:
            if before is None:
                self._look = Look(model)
                self._own_savers = [one for one in self._look.objects() if _saves_in_own_way(one)]
            elif not self._own_savers and (self._weights_only or self._config_is_same(snapshot)):
                return before
            fill_saving_cache()
            with tensorflow_not_imported(), SnapshotScope(snapshot) as scope:
                part = self._serialized(model, snapshot, scope, before)
            self._last = replace(part, untracked=hidden)
        except Exception as error:  # noqa: BLE001 - raised where the file is written
            self._look = self._last = None
            return PythonPart(error=error)
        return self._last

    def _serialized(
        self,
        model: keras.Model,
        snapshot: Snapshot,
        scope: SnapshotScope,
        before: PythonPart | None,
    ) -> PythonPart:
        assets = {}
        if not self._weights_only:
            assets = {id(one): _assets_of(one, before) for one in self._own_savers}
        own = {id(one): _own_variables_of(one, scope) for one in self._own_savers}
        config = None
        if not self._weights_only:
            config = before.config if before is not None else None
            if config is None or not self._config_is_same(snapshot):
                config = self._config(model, snapshot, scope)
        return PythonPart(config, own, assets)

    def _config(self, model: keras.Model, snapshot: Snapshot, scope: SnapshotScope) -> str:
        from kept.training.keras_api.private_api import serialize_config

        scope.read.clear()
        config = serialize_config(model)
        read = [(one, snapshot.memory(one)) for one in scope.read.values()]
        self._read = [(one, b"" if value is None else bytes(value)) for one, value in read]
        return config

    def _config_is_same(self, snapshot: Snapshot) -> bool:
        """Return whether the last config is that of now, if no Python state has changed."""
        if self._look is None or not self._look.is_sure:
            return False
        now = ((snapshot.memory(one), before) for one, before in self._read)
        return all(value is not None and bytes(value) == before for value, before in now)


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
    if before is not None and is_of_keras(type(layer).save_assets):
        return before.assets[id(layer)]
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        layer.save_assets(folder)
        return dict(_files_in(folder))


def _files_in(folder: str) -> Iterable[tuple[str, bytes]]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with open(path, "rb") as file:
                yield os.path.relpath(path, folder), file.read()

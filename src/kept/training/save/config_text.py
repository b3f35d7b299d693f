"""The config.json of a model at a moment; serialized again only where something has changed.

A model's configuration ends with that of its compilation: optimizer, loss and metrics. It has the
values of variables, such as the learning rate, and it is small. So a changed learning rate costs
the serialization of this part only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

    from kept.training.keras_api.snapshot_scope import SnapshotScope
    from kept.training.snapshot.frameworks import Variable
    from kept.training.snapshot.snapshot import Snapshot


class ConfigText:
    """The text, and what it was made of."""

    def __init__(self, model: keras.Model, scope: SnapshotScope) -> None:
        """Serialize the whole configuration inside a scope."""
        from kept.training.keras_api.private_api import serialize_compile_config, serialize_config

        scope.read.clear()
        self.text = serialize_config(model)
        read = [*scope.read]
        scope.read.clear()
        compiled = _last_entry(serialize_compile_config(model))
        # Without its last entry; None if more than that entry depends on variables.
        self._rest: str | None = None
        if self.text.endswith(compiled) and _ids(scope.read) == _ids(read):
            self._rest = self.text[: -len(compiled)]
        self._values = [(one, _value(one, scope)) for one in _once(read)]

    def is_of(self, snapshot: Snapshot) -> bool:
        """Return whether the variables in the text have the same values in a snapshot."""
        now = ((snapshot.memory(one), before) for one, before in self._values)
        return all(value is not None and bytes(value) == before for value, before in now)

    def update(self, model: keras.Model, scope: SnapshotScope) -> bool:
        """Serialize what depends on variables again; return False if that is too much."""
        from kept.training.keras_api.private_api import serialize_compile_config

        if self._rest is None:
            return False
        self.text = self._rest + _last_entry(serialize_compile_config(model))
        self._values = [(one, _value(one, scope)) for one, _ in self._values]
        return True


def _last_entry(compiled: str) -> str:
    return f', "compile_config": {compiled}}}'


def _ids(variables: list[Variable]) -> list[int]:
    return [id(one) for one in variables]


def _once(variables: list[Variable]) -> list[Variable]:
    return list({id(one): one for one in variables}.values())


def _value(variable: Variable, scope: SnapshotScope) -> bytes:
    """Return the bytes of a variable in the scope's snapshot, or of the live one."""
    import keras

    array: np.ndarray[Any, Any] | None = scope.array(variable)
    if array is None:
        array = np.asarray(keras.ops.convert_to_numpy(variable))
    return array.tobytes()

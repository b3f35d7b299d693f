"""Names of an optimizer's variables, which Keras only numbers: from the state of the run beside it.

kept stores kept-state.json with each checkpoint of a callback. It lists the variables of the
optimizer in their order, with the names that Keras gives them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.tensors.tensor import StoredTensor

STATE = "kept-state.json"
MOST = 32 * 2**20  # bytes
_PREFIX = "optimizer/vars/"


def with_optimizer_names(tensors: list[StoredTensor], state: bytes) -> list[StoredTensor]:
    """Return the tensors of a file; the optimizer's have the names in the state, if it fits."""
    numbered = {t.path: t for t in tensors if t.path.startswith(_PREFIX)}
    names = dict(_names(state))
    fits = all(
        path in names and names[path][1] == list(tensor.shape) for path, tensor in numbered.items()
    )
    if not fits:
        return tensors
    return [replace(t, name=names[t.path][0]) if t.path in numbered else t for t in tensors]


def _names(state: bytes) -> Iterator[tuple[str, tuple[str, Any]]]:
    """Yield path, name and shape of each variable of the optimizer."""
    try:
        found = json.loads(state)
        weights = [str(path) for path, _, _ in found["model"]]
        variables = [(str(path), shape) for path, shape, _ in found["optimizer"][1:]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return
    first = {path.partition("/")[0] for path in weights}
    prefix = f"{first.pop()}_" if len(first) == 1 else ""  # the name of the model
    for number, (path, shape) in enumerate(variables):
        name = path.partition("/")[2] or path
        yield f"{_PREFIX}{number}", (f"optimizer/{name.removeprefix(prefix)}", shape)

"""Reads the state of a run strictly: each value has its type and range, or the state is Damaged.

The writer of a version chose its bytes. So no field reaches other code unchecked, and no file asks
for more memory than it has bytes.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kept.errors import CannotResume, Damaged
from kept.training.resume import callback_state, rng
from kept.training.resume.state import (
    ARRAYS_FILE,
    FORMAT,
    FROM_FIRST,
    JSON_FILE,
    LIMITS,
    RANK_FIELDS,
    State,
    rank_files,
)
from kept.training.resume.state_codec import (
    Arrays,
    check,
    check_size,
    decode,
    fields,
    is_count,
    is_numeric,
    is_printable,
    read_arrays,
)

if TYPE_CHECKING:
    from pathlib import Path

_NOT_A_STATE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OSError)
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,100}")  # it is printed
_ENCODED = (
    "logs",
    "random",
    "random_at_epoch",
    "seeds",
    "metrics",
    "data",
    "untracked",
    "unlike_file",
)
_OF_ARRAYS = (*_ENCODED, "weights")  # that a rank may have of its own
# Which older states lack.
_OPTIONAL = ("model", "optimizer", "optimizers", "fit", "processes", "ranks", *LIMITS)
_RANK = re.compile(r"[1-9][0-9]{0,8}")
_NEW = ("data", "untracked", "unlike_file")  # which older states lack
_PLAIN = ("epoch", "batch", "framework", "keras_version", "unfinished", "stopped")


def read_state(folder: Path, rank: int = 0, size: int = 1) -> State | None:
    """Return the state in a version's folder, for a rank of a number of processes; None without.

    It has what the rank had of its own if the run had as many processes; otherwise it is the first
    rank's. Raises Damaged, or CannotResume for the state of a newer kept.
    """
    if not (folder / JSON_FILE).is_file():
        return None
    content = _read_json(folder / JSON_FILE)
    try:
        arrays = read_arrays((folder / ARRAYS_FILE).read_bytes())
        # The first versions of kept did not write data, model and optimizer.
        state = {name: content[name] for name in _PLAIN}
        state |= {name: content[name] for name in _OPTIONAL if name in content}
        state |= {n: decode(content[n], arrays) for n in _ENCODED if n in content or n not in _NEW}
        state["callbacks"] = _callbacks(content["callbacks"], arrays, {})
        found = State(**state)
        _check(found)
        own = found.ranks.get(str(rank)) if size == found.processes else None
        if own is not None:
            found = replace(found, **_own_fields(folder, rank, own, found, arrays))
            _check(found)
    except (Damaged, CannotResume):
        raise
    except _NOT_A_STATE as error:
        raise Damaged(f"{JSON_FILE} is not a state: {type(error).__name__}: {error}") from error
    return found


def _own_fields(
    folder: Path, rank: int, names: list[str], first: State, arrays: Arrays
) -> dict[str, Any]:
    """Return the fields that a rank has of its own; arrays are those of the first one."""
    content_file, arrays_file = rank_files(rank)
    content = _read_json(folder / content_file)
    own = read_arrays((folder / arrays_file).read_bytes())
    every = {**{f"{FROM_FIRST}{name}": one for name, one in arrays.items()}, **own}
    found = {name: content[name] for name in names if name in _PLAIN or name in _OPTIONAL}
    found |= {name: decode(content[name], every) for name in names if name in _OF_ARRAYS}
    if "callbacks" in names:
        found["callbacks"] = _callbacks(content["callbacks"], every, first.callbacks)
    return found


def _callbacks(given: Any, arrays: Arrays, first: dict[str, Any]) -> dict[str, Any]:
    """Return the state of each callback; [name] alone is one with the state of the first rank."""
    check(given, "callbacks", isinstance(given, list))
    found = {}
    for name, *state in given:
        check(given, "callbacks", len(state) == (name not in first or bool(state)))
        found[name] = decode(state[0], arrays) if state else first[name]
    check(given, "callbacks", len(found) == len(given))
    return found


def _check(state: State) -> None:
    _check_moment(state)
    _check_processes(state)
    _check_model(state)
    _check_callbacks(state)
    _check_data(state)


def _check_processes(state: State) -> None:
    size = state.processes
    check(size, "processes", is_count(size) and size >= 1)
    for rank, names in fields(state.ranks, "ranks", str).items():
        check(rank, "ranks", bool(_RANK.fullmatch(rank)) and int(rank) < size)
        is_right = isinstance(names, list) and len({*names}) == len(names) > 0
        check(names, "ranks", is_right and all(name in RANK_FIELDS for name in names))


def _check_moment(state: State) -> None:
    check(state.epoch, "epoch", is_count(state.epoch))
    check(state.fit, "fit", is_count(state.fit))
    check(state.batch, "batch", state.batch is None or is_count(state.batch))
    check(state.framework, "framework", state.framework in rng.FRAMEWORKS)
    version = state.keras_version
    check(version, "keras_version", isinstance(version, str) and bool(_VERSION.fullmatch(version)))
    check(state.stopped, "stopped", isinstance(state.stopped, bool))
    for name in ("hidden_noise", "unsaved"):
        found = getattr(state, name)
        is_right = isinstance(found, list) and all(is_printable(one) for one in found)
        check(found, name, is_right)
    check(state.devices, "devices", is_printable(state.devices))
    fields(state.logs, "logs", str)
    rng.check(state.random, state.framework)
    if state.random_at_epoch is not None:
        rng.check(state.random_at_epoch, state.framework)


def _check_model(state: State) -> None:
    optimizer = state.optimizer
    check(optimizer, "optimizer", isinstance(optimizer, list))
    check(optimizer, "optimizer", not optimizer or is_printable(optimizer[0]))
    check(state.model, "model", isinstance(state.model, list))
    optimizers = state.optimizers
    check(optimizers, "optimizers", optimizers is None or isinstance(optimizers, list))
    for variable in (*state.model, *optimizer[1:]):
        path, shape, dtype = variable
        is_shape = isinstance(shape, list) and all(is_count(size) for size in shape)
        check(variable, "variable", is_printable(path) and is_shape and is_printable(dtype))
    for trained in state.optimizers or []:
        is_right = trained is None or (
            isinstance(trained, list)
            and all(is_count(one) and one < len(state.model) for one in trained)
        )
        check(trained, "optimizers", is_right)
    some = {name: getattr(state, name) for name in ("seeds", "metrics", "untracked")}
    for name in ("unlike_file", "weights"):
        some[name] = [value for _, value in getattr(state, name)]
        for index, _ in getattr(state, name):
            check(index, name, is_count(index) and index < len(state.model))
    for name, values in some.items():
        check(values, name, isinstance(values, list))
        for value in values:
            check(value, name, isinstance(value, np.ndarray) and is_numeric(value))


def _check_callbacks(state: State) -> None:
    fields(state.callbacks, "callbacks", str)
    for name, one in state.callbacks.items():
        check(name, "callbacks", is_printable(name))
        callback_state.check_named(name, one)
    check(state.unfinished, "unfinished", isinstance(state.unfinished, list))
    for name in state.unfinished:
        check(name, "unfinished", isinstance(name, str) and name in state.callbacks)


def _check_data(state: State) -> None:
    if not state.data:
        check(state.data, "data", state.data == {})
        return
    found = fields(state.data, "data", str, "first_epoch", "batches", "batch_size", "own")
    first = found["first_epoch"]
    check(first, "first_epoch", is_count(first) and first <= state.epoch)
    for name in ("batches", "batch_size"):
        check(found[name], name, found[name] is None or is_count(found[name]))
    for one in fields(found.get("order", {}), "order", str).values():
        check(one, "order", type(one) is int)
    own = fields(found["own"], "own", str)
    generators = own.get("generators", [])
    check(generators, "generators", isinstance(generators, list))
    for one in generators:
        rng.check_bytes(one, "generators")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes()
        check_size(text)
        content: Any = json.loads(text, object_pairs_hook=_unique)
        check(content, "state", isinstance(content, dict))
        number = content["format"]
        check(number, "format", type(number) is int and number >= FORMAT)
    except _NOT_A_STATE as error:
        raise Damaged(f"{path.name} is not a state: {type(error).__name__}: {error}") from error
    if number != FORMAT:
        raise CannotResume(
            f"The version's state has format {number}; this kept reads format {FORMAT}. Update "
            "kept."
        )
    return dict(content)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object; raises ValueError if a name occurs twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a name occurs twice in {[name for name, _ in pairs]}")
    return found

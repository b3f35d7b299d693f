"""Writes the state of a run as two small files, on the writer thread."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kept.errors import InvalidCheckpoint
from kept.training.resume import callback_state
from kept.training.resume.state import ARRAYS_FILE, FORMAT, JSON_FILE
from kept.training.resume.state_codec import (
    Arrays,
    Unsupported,
    check_size,
    encode,
    write_arrays,
)
from kept.training.snapshot.metadata import model_metadata
from kept.training.snapshot.variables import metrics_of, seeds_of, unlike_file, untracked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kept.training.resume.state import State
    from kept.training.snapshot.frameworks import Variable
    from kept.training.snapshot.snapshot import Snapshot

_PLAIN = ("epoch", "batch", "framework", "keras_version", "fit", "devices")


def write_state(
    state: State, model: keras.Model, folder: str, snapshot: Snapshot | None
) -> list[str]:
    """Write a state's files into folder and return their paths.

    Values of variables come from the snapshot, or from the model if the snapshot lacks them.
    """
    arrays: Arrays = {}
    content = {
        **model_metadata(model),
        "format": FORMAT,
        **{name: getattr(state, name) for name in _PLAIN},
        **run_content(state, arrays),
        **variables_content(state, model, snapshot, arrays),
        "unlike_file": weights_content(model, unlike_file(model, snapshot), snapshot, arrays),
    }
    paths = [os.path.join(folder, name) for name in (JSON_FILE, ARRAYS_FILE)]
    text = as_text(content)
    try:
        check_size(text)  # else no run could resume from it
    except ValueError as error:
        if not state.is_required:
            callback_state.leave_out("the callbacks", str(error))
            return write_state(replace(state, callbacks={}), model, folder, snapshot)
        raise InvalidCheckpoint(f"kept cannot write the state of the callbacks: {error}") from None
    with open(paths[0], "xb") as file:
        file.write(text)
    write_arrays(paths[1], arrays)
    return paths


def as_text(content: dict[str, Any]) -> bytes:
    """Return the text of a state's JSON file."""
    return json.dumps(content, allow_nan=False, ensure_ascii=False, sort_keys=True).encode()


def run_content(state: State, arrays: Arrays) -> dict[str, Any]:
    """Return what a state holds beside variables, as JSON; add its arrays to arrays."""
    callbacks = _encode_callbacks(state, arrays)
    return {
        "stopped": state.stopped,
        "hidden_noise": state.hidden_noise,
        "unsaved": state.unsaved,
        "logs": encode(_plain_logs(state.logs), arrays),
        "random": encode(state.random, arrays),
        "random_at_epoch": encode(state.random_at_epoch, arrays),
        "callbacks": callbacks,
        "unfinished": [name for name, _ in callbacks if name in state.unfinished],
        "data": encode(state.data, arrays),
    }


def variables_content(
    state: State, model: keras.Model, snapshot: Snapshot | None, arrays: Arrays
) -> dict[str, Any]:
    """Return the values of variables that Keras's file lacks, as JSON; add them to arrays."""
    groups = {
        "untracked": untracked(model) if snapshot is None else snapshot.python.untracked,
        "seeds": seeds_of(model),
        "metrics": metrics_of(model) if state.batch is not None else [],
    }
    return {
        name: [encode(value_of(variable, snapshot), arrays) for variable in some]
        for name, some in groups.items()
    }


def weights_content(
    model: keras.Model, indices: Iterable[int], snapshot: Snapshot | None, arrays: Arrays
) -> list[Any]:
    """Return [index, value] of some of model.weights, as JSON; add the values to arrays."""
    weights = model.weights
    return [[n, encode(value_of(weights[n], snapshot), arrays)] for n in indices]


def value_of(variable: Variable, snapshot: Snapshot | None) -> np.ndarray[Any, Any]:
    """Return a variable's value in the snapshot, or its own if the snapshot lacks it."""
    copy = None if snapshot is None else snapshot.value(variable)
    if snapshot is not None and snapshot.lacks(variable):
        raise InvalidCheckpoint(
            f"the state of the run needs the values of {variable.path}, which are sharded across "
            "processes. A layer that saves such weights in its own way cannot be resumed."
        )
    return np.array(keras.ops.convert_to_numpy(variable.value if copy is None else copy))


def _encode_callbacks(state: State, arrays: Arrays) -> list[list[Any]]:
    """Return [name, state] of each callback.

    A state that cannot be written is an error only if the user asked to resume. Otherwise it is
    left out; of History, which records whatever is in the logs, only such metrics are.
    """
    found = []
    for name, value in state.callbacks.items():
        plain = value
        if not state.is_required and name.startswith("History") and isinstance(value, dict):
            plain = {**value, "history": _plain_logs(value.get("history") or {})}
        count = len(arrays)
        try:
            found.append([name, _encoded(plain, arrays)])
        except Unsupported as error:
            if state.is_required:
                raise InvalidCheckpoint(
                    f"kept cannot write the state of {name}: {error}. Its get_state() may return "
                    "plain values, lists, tuples, dicts and arrays."
                ) from None
            callback_state.leave_out(name, str(error))
            for extra in list(arrays)[count:]:
                del arrays[extra]
    return found


def _encoded(value: Any, arrays: Arrays) -> Any:
    """Return encode(value, arrays); raises Unsupported also for what no JSON file can hold."""
    found = encode(value, arrays)
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except ValueError as error:  # a number of too many digits, or half of a surrogate pair
        raise Unsupported(str(error)) from None
    return found


def _plain_logs(logs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in logs.items() if _is_encodable(value)}


def _is_encodable(value: Any) -> bool:
    try:
        _encoded(value, {})
    except Exception:  # noqa: BLE001 - logs may hold any object, and its own code may fail
        return False
    return True

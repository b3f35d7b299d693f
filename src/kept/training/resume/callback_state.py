"""The states of callbacks: which attributes belong to them, and how they are restored.

A callback may define its state with get_state() and set_state(state). For callbacks of Keras with
a state, this module lists the attributes. Other callbacks have none.
"""

from __future__ import annotations

import contextlib
import copy
import os
from typing import TYPE_CHECKING, Any

import keras

from kept.errors import Damaged, InvalidCheckpoint
from kept.messages import show_once
from kept.training.resume.state_codec import check, is_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

callbacks = keras.callbacks

# The attributes that belong to the state, and their kinds (state_codec.is_kind).
_ATTRIBUTES: dict[type, dict[str, str]] = {
    callbacks.EarlyStopping: {
        "wait": "count",
        "stopped_epoch": "count",
        "best": "number?",
        "best_epoch": "count",
        "best_weights": "array*?",
    },
    callbacks.ReduceLROnPlateau: {"wait": "count", "cooldown_counter": "number", "best": "number?"},
    # Whether the model holds the averages, and the optimizer the weights that are trained.
    callbacks.SwapEMAWeights: {"_ema_weights_in_model": "flag"},
    callbacks.History: {"history": "lists", "epoch": "count*"},
    callbacks.ModelCheckpoint: {
        "best": "number?",
        "epochs_since_last_save": "count",
        "_batches_seen_since_last_saving": "count",
        "_last_batch_seen": "number?",
    },
    # Where its files continue: the step of a batch, the epoch in a backup, the next save.
    callbacks.TensorBoard: {"_global_train_batch": "count", "_global_test_batch": "count"},
    callbacks.BackupAndRestore: {
        "_current_epoch": "count",
        "_batches_seen_since_last_saving": "count",
        "_last_batch_seen": "number?",
    },
}
if hasattr(callbacks, "OrbaxCheckpoint"):  # which older versions of Keras lack
    _ATTRIBUTES[callbacks.OrbaxCheckpoint] = {
        "best": "number?",
        "_batches_seen_since_last_saving": "count",
        "_last_batch_seen": "number?",
        "_total_batches_seen": "count",
    }
_ONLY_SAVE = ("TensorBoard", "BackupAndRestore", "OrbaxCheckpoint")  # and all ModelCheckpoints
_CSV = {"text": "text?", "keys": "text*?"}
_OWN = {"best": "number?", "since_save": "count"}  # of kept's ModelCheckpoint
_BY_NAME = {kind.__name__: attributes for kind, attributes in _ATTRIBUTES.items()}
_BY_NAME["CSVLogger"] = _CSV
_MISSING = object()


def has_state(callback: Any) -> bool:
    """Return whether the callback has a state."""
    return (
        _has_own(callback)
        or isinstance(callback, callbacks.CSVLogger)
        or bool(_attributes(callback))
    )


def check_state_of(state_of: Sequence[Any]) -> list[Any]:
    """Return the callbacks of the argument state_of; raises InvalidCheckpoint."""
    for callback in state_of:
        if not has_state(callback):
            raise InvalidCheckpoint(
                "state_of takes callbacks of Keras that have a state, and callbacks with "
                f"get_state() and set_state(state). Received: {type(callback).__name__}"
            )
    return list(state_of)


def leave_out(name: str, reason: str) -> None:
    """Print once that versions lack the state of a callback."""
    show_once(
        f"versions do not hold the state of {name}, so a run that resumes from them begins "
        f"with a new one: {reason}"
    )


def get_state(callback: Any) -> Any:
    """Return a copy of the callback's state."""
    if _has_own(callback):
        return copy.deepcopy(callback.get_state())
    if isinstance(callback, callbacks.CSVLogger):
        return _get_csv(callback)
    # Arrays are not copied, because Keras's callbacks replace them and never change them.
    return {
        name: _copy(vars(callback)[name])
        for name in _attributes(callback)
        if name in vars(callback)
    }


def check_named(name: str, state: Any) -> None:
    """Raise ValueError for the state of a callback of Keras or kept that cannot be restored.

    A callback of the user can have the same name, so a state with other attributes is not checked.
    """
    is_kept_s = name.partition(" ")[0].endswith("ModelCheckpoint") and _is_of_kept(state)
    known = _OWN if is_kept_s else _BY_NAME.get(name.partition(" ")[0])
    if known is not None and isinstance(state, dict) and state.keys() <= known.keys():
        _check(state, known, name)


def set_state(callback: Any, state: Any) -> None:
    """Restore what get_state returned; raises Damaged for a state of another form."""
    try:
        _check(state, _kinds(callback, state), type(callback).__name__)
    except ValueError as error:
        raise Damaged(f"A state of a callback is damaged: {error}") from error
    if _has_own(callback):
        callback.set_state(copy.deepcopy(state))
    elif isinstance(callback, callbacks.CSVLogger):
        _set_csv(callback, state)
    else:
        for name in _attributes(callback):
            if name in state:
                setattr(callback, name, _copy(state[name]))


def named(given: Iterable[Any]) -> dict[str, Any]:
    """Return the callbacks by name: the class, with a number if it is not the first of it."""
    found: dict[str, Any] = {}
    for callback in given:
        base = type(callback).__name__
        names = [base, *(f"{base} {n}" for n in range(2, len(found) + 2))]
        found[next(name for name in names if name not in found)] = callback
    return found


def belongs(callback: Any, state: Any) -> bool:
    """Return whether a state is one of the callback's class; both have the same name.

    kept's ModelCheckpoint and Keras's have the same name, but other states. That of kept has none
    in a process after the first one of a run.
    """
    own = get_state(callback) if isinstance(callback, callbacks.ModelCheckpoint) else {}
    return not own or _is_of_kept(state) == _is_of_kept(own)


def only_saves(name: str) -> bool:
    """Return whether a name that named returned is that of a callback that only writes files."""
    kind = name.partition(" ")[0]
    return kind in _ONLY_SAVE or kind.endswith("ModelCheckpoint")


def _is_of_kept(state: Any) -> bool:
    return isinstance(state, dict) and "since_save" in state


def _has_own(callback: Any) -> bool:
    return all(callable(getattr(callback, name, None)) for name in ("get_state", "set_state"))


def _attributes(callback: Any) -> dict[str, str]:
    return next((a for kind, a in _ATTRIBUTES.items() if isinstance(callback, kind)), {})


def _kinds(callback: Any, state: Any) -> dict[str, str]:
    """Return the kinds of what belongs to a state; a callback with get_state checks its own."""
    if isinstance(callback, callbacks.ModelCheckpoint) and _is_of_kept(state):
        return _OWN
    if _has_own(callback):
        return {}
    return _CSV if isinstance(callback, callbacks.CSVLogger) else _attributes(callback)


def _check(state: Any, known: dict[str, str], name: str) -> None:
    if not known:
        return
    check(state, name, isinstance(state, dict))
    for attribute, kind in known.items():
        if attribute in state or known in (_CSV, _OWN):
            value = state.get(attribute, _MISSING)
            check(value, f"{name}.{attribute}", is_kind(kind, value))


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [*value] if isinstance(value, list) else value


def _get_csv(logger: Any) -> dict[str, Any]:
    """Return the text of the file, too: a resumed run may have no file, or one with more rows."""
    file = getattr(logger, "csv_file", None)  # Keras 3.10 has it from the begin of training on
    if file is not None and not file.closed:
        file.flush()
    text = None
    with contextlib.suppress(OSError), open(logger.filename, newline="") as written:
        text = written.read()
    return {"text": text, "keys": logger.keys and list(logger.keys)}


def _set_csv(logger: Any, state: dict[str, Any]) -> None:
    if state["text"] is None:
        return
    file = getattr(logger, "csv_file", None)
    if file is not None and not file.closed:
        file.close()
    os.makedirs(os.path.dirname(os.path.abspath(logger.filename)), exist_ok=True)
    with open(logger.filename, "w", newline="") as written:
        written.write(state["text"])
    logger.csv_file = open(logger.filename, "a", newline="")  # noqa: SIM115 - the logger closes it
    logger.keys, logger.writer = state["keys"], None
    logger.append_header = not state["text"]

"""The state of a run beside its checkpoint: counters, randomness, callbacks, metrics.

It is two small files of the version, kept-state.json and kept-state.npz: JSON and arrays, so that
reading them cannot run anything. What changes while training goes on is taken on the training
thread (Recorder.capture); writing is the writer's business (write_state).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kept.errors import CannotResume, Damaged, InvalidCheckpoint
from kept.training.data import data_state
from kept.training.data.running_fit import Fit
from kept.training.resume import callback_state, rng
from kept.training.resume.state_codec import (
    Arrays,
    Unsupported,
    decode,
    encode,
    read_arrays,
    write_arrays,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from kept.training.snapshot.frameworks import Variable
    from kept.training.snapshot.snapshot import Snapshot

FORMAT = 1
JSON_FILE = "kept-state.json"
ARRAYS_FILE = "kept-state.npz"
_NOT_A_STATE = (ValueError, KeyError, TypeError, RecursionError)


@dataclass(slots=True)
class State:
    """A moment of a run, in the hook in which a checkpoint was saved."""

    epoch: int
    batch: int | None  # the last batch that was done; None: the epoch was done
    logs: dict[str, Any]  # that the hook was given
    random: dict[str, Any]
    random_at_epoch: dict[str, Any] | None  # when the epoch began; only in the middle of one
    callbacks: dict[str, Any]  # name -> state
    unfinished: list[str]  # the callbacks that had not been called with the hook yet
    stopped: bool  # a callback had asked for the end of training
    framework: str = field(default_factory=keras.backend.backend)
    keras_version: str = keras.__version__
    data: dict[str, Any] = field(default_factory=dict)  # what data_state.describe returns
    # What follows is known when the state has been read; when it is written, the writer asks.
    model: list[Any] = field(default_factory=list)  # [path, shape, type] of the weights
    optimizer: list[Any] = field(default_factory=list)  # of its variables, its class first
    seeds: list[Any] = field(default_factory=list)  # values of the layers' seed generators
    metrics: list[Any] = field(default_factory=list)  # values of the metrics' variables

    @property
    def first_epoch(self) -> int:
        """The epoch that the data began with."""
        return int(self.data.get("first_epoch", 0))


class Recorder:
    """Takes states, on the training thread, on behalf of one callback."""

    def __init__(self, owner: Any, state_of: Sequence[Any] | None) -> None:
        """Raises InvalidCheckpoint for a callback that has no state to be kept."""
        self._owner = owner
        self._given = None if state_of is None else check_state_of(state_of)
        self._fit = Fit()
        self._random_at_epoch: dict[str, Any] | None = None
        self._data_at_epoch: dict[str, Any] = {}
        self._first_epoch: int | None = None

    @property
    def callbacks(self) -> dict[str, Any]:
        """The callbacks that belong to the state, by name, in the order they are called in."""
        return callback_state.named(self._in_order())

    def missing(self, state: State) -> list[str]:
        """Return the callbacks in a state that this fit lacks, and whose absence changes it.

        That of one which only saves does not, and where state_of says which are wanted, it is so.
        """
        known = self.callbacks
        absent = [one for one in state.callbacks if one not in known]
        wanted = absent if self._given is None else []
        return [one for one in wanted if not callback_state.only_saves(one)]

    def begin(self, fit: Fit, first_epoch: int | None) -> None:
        """Note what the fit works with, and the epoch that its data began with.

        That is the epoch that begins next, if it is None.
        """
        self._fit, self._first_epoch = fit, first_epoch

    def epoch_begin(self, epoch: int) -> None:
        """Note what the epoch's order of batches comes from."""
        if self._first_epoch is None:
            self._first_epoch = epoch
        self._random_at_epoch = rng.capture()
        self._data_at_epoch = data_state.own_state(self._fit)

    def capture(self, epoch: int, batch: int | None, logs: Mapping[str, Any]) -> State:
        """Return the state of this moment."""
        known = self.callbacks
        later = self.after_owner(known.values())
        return State(
            epoch=epoch,
            batch=batch,
            logs=dict(logs),
            random=rng.capture(),
            random_at_epoch=None if batch is None else self._random_at_epoch,
            callbacks={name: callback_state.get_state(one) for name, one in known.items()},
            unfinished=[name for name, one in known.items() if any(one is c for c in later)],
            stopped=bool(getattr(self._owner.model, "stop_training", False)),
            data=self._describe_data(epoch, ended=batch is None),
        )

    def _describe_data(self, epoch: int, *, ended: bool) -> dict[str, Any]:
        own = data_state.own_state(self._fit) if ended else self._data_at_epoch
        first = epoch if self._first_epoch is None else self._first_epoch
        return data_state.describe(self._fit, first, own)

    def after_owner(self, some: Iterable[Any]) -> list[Any]:
        """Return those that are called after the owner."""
        order = [id(callback) for callback in self._fit.callbacks]
        if id(self._owner) not in order:  # nothing is known: History is usually the last
            history = getattr(self._owner.model, "history", None)
            return [callback for callback in some if callback is history]
        own = order.index(id(self._owner))
        return [callback for callback in some if id(callback) in order[own + 1 :]]

    def _in_order(self) -> list[Any]:
        model = self._owner.model
        given = self._given
        if given is None:
            given = [c for c in self._fit.callbacks if callback_state.has_state(c)]
        more = [self._owner, getattr(model, "history", None)]
        found = [*given, *(c for c in more if c is not None and callback_state.has_state(c))]
        return list({id(callback): callback for callback in found}.values())


def check_state_of(state_of: Sequence[Any]) -> list[Any]:
    """Return the callbacks whose state is wanted; raises InvalidCheckpoint."""
    for callback in state_of:
        if not callback_state.has_state(callback):
            raise InvalidCheckpoint(
                "state_of takes callbacks of Keras that have a state, and those that have "
                f"get_state() and set_state(state). Received: {type(callback).__name__}"
            )
    return list(state_of)


def write_state(
    state: State, model: keras.Model, folder: str, snapshot: Snapshot | None
) -> list[str]:
    """Write a state's files into folder and return their paths.

    Values of variables come from the snapshot, or from the model if the snapshot lacks them.
    """
    arrays: Arrays = {}
    seeds, metrics = seeds_of(model), metrics_of(model) if state.batch is not None else []
    content = {
        "format": FORMAT,
        "epoch": state.epoch,
        "batch": state.batch,
        "framework": state.framework,
        "keras_version": state.keras_version,
        "model": describe(model.weights),
        "optimizer": describe_optimizer(model),
        "logs": encode(_plain_logs(state.logs), arrays),
        "random": encode(state.random, arrays),
        "random_at_epoch": encode(state.random_at_epoch, arrays),
        "callbacks": [_encode_callback(n, s, arrays) for n, s in state.callbacks.items()],
        "unfinished": state.unfinished,
        "stopped": state.stopped,
        "data": encode(state.data, arrays),
        "seeds": [encode(_value(variable, snapshot), arrays) for variable in seeds],
        "metrics": [encode(_value(variable, snapshot), arrays) for variable in metrics],
    }
    paths = [os.path.join(folder, name) for name in (JSON_FILE, ARRAYS_FILE)]
    with open(paths[0], "x", encoding="utf-8") as file:
        json.dump(content, file, allow_nan=False, ensure_ascii=False, sort_keys=True)
    write_arrays(paths[1], arrays)
    return paths


def read_state(folder: Path) -> State | None:
    """Return the state in a version's files, None if there is none.

    Raises CannotResume (of a newer kept) or Damaged.
    """
    if not (folder / JSON_FILE).is_file():
        return None
    content = _read_json(folder / JSON_FILE)
    try:
        arrays = read_arrays((folder / ARRAYS_FILE).read_bytes())
        states = {name: decode(state, arrays) for name, state in content.pop("callbacks")}
        decoded = {
            name: decode(content.pop(name), arrays)
            for name in ("logs", "random", "random_at_epoch", "seeds", "metrics", "data")
            if name in content or name != "data"  # states of the first versions of kept lack it
        }
        content.pop("format")
        known = {name: content[name] for name in content if name in State.__dataclass_fields__}
        return State(**known, **decoded, callbacks=states)
    except (*_NOT_A_STATE, AttributeError, OSError) as error:
        raise Damaged(f"{JSON_FILE} is not a state: {type(error).__name__}: {error}") from error


def describe(variables: Iterable[Variable]) -> list[list[Any]]:
    """Return [path, shape, type] of each variable."""
    return [[v.path, list(v.shape), keras.backend.standardize_dtype(v.dtype)] for v in variables]


def describe_optimizer(model: keras.Model) -> list[Any]:
    """Return the optimizer's class and its variables; nothing where there is no optimizer."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return []
    return [type(optimizer).__name__, *describe(optimizer.variables)]


def seeds_of(model: keras.Model) -> list[Variable]:
    """Return the variables of the layers' seed generators, which no checkpoint holds."""
    weights = {id(variable) for variable in (*model.weights, *model.metrics_variables)}
    return [variable for variable in model.variables if id(variable) not in weights]


def metrics_of(model: keras.Model) -> list[Variable]:
    """Return the variables of the metrics, which no checkpoint holds either."""
    return list(model.metrics_variables)


def _value(variable: Variable, snapshot: Snapshot | None) -> np.ndarray[Any, Any]:
    copy = None if snapshot is None else snapshot.value(variable)
    return np.array(keras.ops.convert_to_numpy(variable.value if copy is None else copy))


def _encode_callback(name: str, state: Any, arrays: Arrays) -> list[Any]:
    try:
        return [name, encode(state, arrays)]
    except Unsupported as error:
        raise InvalidCheckpoint(
            f"The state of {name} cannot be kept: {error}. Its get_state() may return plain "
            "values, lists, tuples, dicts and arrays."
        ) from None


def _plain_logs(logs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in logs.items() if _is_encodable(value)}


def _is_encodable(value: Any) -> bool:
    try:
        encode(value, {})
    except Unsupported:
        return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object; raises ValueError where a name stands twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a name stands twice in {[name for name, _ in pairs]}")
    return found


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes(), object_pairs_hook=_unique)
        number = content["format"]
    except _NOT_A_STATE as error:
        raise Damaged(f"{JSON_FILE} is not a state: {error}") from error
    if number != FORMAT:
        raise CannotResume(
            f"The version's state has format {number}; this kept knows format {FORMAT}. Update "
            "kept."
        )
    return content

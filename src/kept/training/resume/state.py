"""The state of a run beside its checkpoint: counters, random states, callbacks, metrics.

A version has it as two small files, kept-state.json and kept-state.npz. They are JSON and arrays,
so that reading them runs no code. The training thread captures what training changes
(Recorder.capture); the writer thread writes the files (write_state.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import keras

from kept.training.data import data_state
from kept.training.data.running_fit import Fit
from kept.training.resume import callback_state, rng

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FORMAT = 1
JSON_FILE = "kept-state.json"
ARRAYS_FILE = "kept-state.npz"
FROM_FIRST = "first-"  # begins the name of an array of the first rank in another rank's file
LIMITS = ("hidden_noise", "unsaved", "devices")  # what a resumed run cannot have in every case


# What each process of a run can have of its own.
RANK_FIELDS = (
    *("stopped", "hidden_noise", "unsaved", "logs", "random", "random_at_epoch", "callbacks"),
    *("unfinished", "data", "untracked", "seeds", "metrics", "weights"),
)


def rank_files(rank: int) -> tuple[str, str]:
    """Return the names of the files for what a process after the first one has of its own."""
    return f"kept-state.rank-{rank}.json", f"kept-state.rank-{rank}.npz"


@dataclass(slots=True)
class State:
    """A moment of a run, in the hook in which a checkpoint was saved."""

    epoch: int
    batch: int | None  # the last finished batch; None: the epoch was finished
    logs: dict[str, Any]  # the argument of the hook
    random: dict[str, Any]
    random_at_epoch: dict[str, Any] | None  # of the epoch's start; None after its end
    callbacks: dict[str, Any]  # name -> state
    unfinished: list[str]  # the callbacks whose hook was not called yet
    stopped: bool  # a callback had stopped the training
    framework: str = field(default_factory=keras.backend.backend)
    keras_version: str = keras.__version__
    data: dict[str, Any] = field(default_factory=dict)  # what data_metadata returns
    hidden_noise: list[str] = field(default_factory=list)  # operations whose state is hidden
    unsaved: list[str] = field(default_factory=list)  # generators and values that no version holds
    devices: str = ""  # a description of them; empty if unknown
    fit: int = 0  # how many fits of this callback had ended before
    processes: int = 1  # of the run
    ranks: dict[str, list[str]] = field(default_factory=dict)  # fields that ranks have of their own
    # Whether the user asked to resume, so that a callback's state must not be left out.
    is_required: bool = False
    # read_state sets the following; write_state takes them from the model.
    model: list[Any] = field(default_factory=list)  # [path, shape, type] of the weights
    optimizer: list[Any] = field(default_factory=list)  # of its variables, its class first
    optimizers: list[Any] | None = None  # what each trains: indices of weights; None: unknown
    untracked: list[Any] = field(default_factory=list)  # values of variables in no list of Keras
    unlike_file: list[Any] = field(default_factory=list)  # [index, value] of weights
    seeds: list[Any] = field(default_factory=list)  # values of the layers' seed generators
    metrics: list[Any] = field(default_factory=list)  # values of the metrics' variables
    weights: list[Any] = field(default_factory=list)  # [index, value] of weights of this rank alone

    @property
    def first_epoch(self) -> int:
        """The epoch that the data began with."""
        return int(self.data.get("first_epoch", 0))


class Recorder:
    """Captures states for one callback, on the training thread."""

    def __init__(self, owner: Any, state_of: Sequence[Any] | None) -> None:
        """Raises InvalidCheckpoint for a callback without a state."""
        self._owner = owner
        self._given = None if state_of is None else callback_state.check_state_of(state_of)
        self._fit = Fit()
        self._random_at_epoch: dict[str, Any] | None = None
        self._data_at_epoch: dict[str, Any] = {}
        self._first_epoch: int | None = None
        self.is_required = state_of is not None  # whether the user asked to resume

    @property
    def callbacks(self) -> dict[str, Any]:
        """The callbacks that belong to the state, by name, in the order of their calls."""
        return callback_state.named(self._in_order())

    def missing(self, state: State) -> list[str]:
        """Return the callbacks in a state that this fit lacks and that would change it.

        A callback that only saves changes nothing. With state_of the user chose the callbacks, so
        the result is empty.
        """
        known = self.callbacks
        absent = [one for one in state.callbacks if one not in known]
        wanted = absent if self._given is None else []
        return [one for one in wanted if not callback_state.only_saves(one)]

    def unsaved_of(self, state: State) -> list[str]:
        """Return what no version holds, without what belongs to callbacks that this fit lacks."""
        holders = [*self._fit.callbacks, data_state.dataset_of(self._fit)]
        names = (*(f"{type(one).__name__}." for one in holders), "layer ")
        return [one for one in state.unsaved if one.startswith(names)]

    def begin(self, fit: Fit, first_epoch: int | None) -> None:
        """Note the fit, and the epoch that its data began with; None is the next epoch."""
        self._fit, self._first_epoch = fit, first_epoch

    def epoch_begin(self, epoch: int) -> None:
        """Note the states that the order of the epoch's batches depends on."""
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
            callbacks=self._states(known),
            unfinished=[name for name, one in known.items() if any(one is c for c in later)],
            stopped=bool(getattr(self._owner.model, "stop_training", False)),
            data=self._data_metadata(epoch, ended=batch is None),
            is_required=self.is_required,
        )

    def _states(self, known: Mapping[str, Any]) -> dict[str, Any]:
        states = {}
        for name, callback in known.items():
            try:
                states[name] = callback_state.get_state(callback)
            except Exception as error:
                if self.is_required:
                    raise
                callback_state.leave_out(name, f"{type(error).__name__}: {error}")
        return states

    def _data_metadata(self, epoch: int, *, ended: bool) -> dict[str, Any]:
        own = data_state.own_state(self._fit) if ended else self._data_at_epoch
        first = epoch if self._first_epoch is None else self._first_epoch
        return data_state.data_metadata(self._fit, first, own)

    def after_owner(self, some: Iterable[Any]) -> list[Any]:
        """Return the callbacks that are called after the owner."""
        order = [id(callback) for callback in self._fit.callbacks]
        if id(self._owner) not in order:  # the order is not known: History is usually the last
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

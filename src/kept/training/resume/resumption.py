"""Brings a fit to the moment of a version, in the hook in which the version was saved.

A callback saves inside a hook, so a state belongs to the middle of that hook. After the end of an
epoch, a resumed run calls the same hook of the callbacks that were not called yet. Within an epoch,
the epoch begins again and its finished batches are replayed (position.py). In the hook of the last
of them, everything is set to the saved state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kept.errors import CannotResume
from kept.messages import show
from kept.training.data import data_state, replay_batches, seek
from kept.training.data.devices import LAST_BITS, devices, other_processes
from kept.training.keras_api import private_fit
from kept.training.resume import callback_state, load_version, position, rng
from kept.training.resume.rank_state import lost_fields
from kept.training.snapshot.variables import metrics_of, seeds_of, untracked, variables_of

if TYPE_CHECKING:
    from kept.training.data.running_fit import Fit
    from kept.training.group.agreement import Agreement
    from kept.training.resume.load_version import Found
    from kept.training.resume.state import Recorder, State
    from kept.training.snapshot.frameworks import Variable

_WITHOUT_STATE = "random generators, callbacks, metrics and the position in the data"


def _copy_of(variable: Variable) -> Any:
    """Return a copy of a variable's value: in host memory, or on the devices if none has all."""
    value = variable.value
    if getattr(value, "is_fully_addressable", True) or value.is_fully_replicated:
        return np.array(keras.ops.convert_to_numpy(value))
    return keras.ops.copy(value)


def _put_untracked(model: keras.Model, state: State) -> None:
    """Restore variables that no list of Keras has; print a message if that is impossible."""
    held = untracked(model)
    if not held and not state.untracked:
        return
    try:
        load_version.put(held, state.untracked, "variables outside model.variables")
    except CannotResume as error:
        show(f"not restored, so the results may differ: {error}")


class Resumption:
    """Resumes one fit, from one version; a callback passes its hooks on."""

    def __init__(self, owner: Any, found: Found, agreement: Agreement) -> None:
        """Put the version's weights into the models of all ranks; raises CannotResume."""
        self.version = found.version
        self.state = found.state
        self._rank, self._processes = agreement.rank, agreement.size
        self._owner = owner
        self._later: list[tuple[Any, Any]] = []  # callbacks after the owner, their states
        self._random: dict[str, Any] | None = None  # of the start of the first epoch
        self._values: list[tuple[Variable, Any]] = []  # to assign after the replay
        self._is_replaying = False
        self._lost = lost_fields(self.state, agreement)
        load_version.load(found, owner.model, agreement)
        found.folder.cleanup()
        with agreement.step(f"restore the state of {self.version.reference}"):
            if self.state is not None:
                load_version.put(seeds_of(owner.model), self.state.seeds, "seed generators")
                _put_untracked(owner.model, self.state)

    def begin(self, recorder: Recorder, fit: Fit) -> None:
        """Set the first epoch, and print what will differ; on_train_begin calls it."""
        self._recorder, self._fit = recorder, fit
        self._random_here = rng.capture()
        if self.state is None:
            self._begin_without_state()
            return
        self._compare(self.state)
        if self.state.batch is None:
            self._begin_after_epoch(self.state)
        else:
            self._begin_in_epoch(self.state, self.state.batch)

    def epoch_begin(self, epoch: int) -> None:
        """Restore what has to wait until all callbacks have begun; on_epoch_begin calls it."""
        self._restore_later()
        if self._random is not None:
            if self.state is not None and "data" not in self._lost:
                data_state.restore_own(self._fit, self.state.data.get("own", {}))
            self._restore_random(self._random)
            self._random = None
        if self._values and not self._is_replaying:
            self._replay_batches(epoch)

    def passes(self, batch: int) -> bool:
        """Return whether the batch was done before the save; on_train_batch_end calls it."""
        if not self._is_replaying:
            return False
        state = self.state
        if state is not None and batch >= int(state.batch or 0):
            self._is_replaying = False
            self._set_moment(state)
        return True

    def epoch_end(self) -> None:
        """Raise CannotResume if the data had too few batches; on_epoch_end calls it."""
        if self._is_replaying:
            raise replay_batches.too_few_batches()

    def end(self) -> None:
        """Restore the callbacks, if no epoch was left; on_train_end calls it."""
        self._restore_later()

    def _begin_without_state(self) -> None:
        metadata, name = self.version.metadata, self.version.reference
        epoch, batch = metadata.get("epoch"), metadata.get("batch")
        first = 0 if not isinstance(epoch, int) else epoch + (batch is None)
        self._show(
            f"continuing from {name} at the start of epoch {first + 1}; it has no state, so "
            f"{_WITHOUT_STATE} are not restored"
        )
        self._set_first_epoch(first)

    def _begin_after_epoch(self, state: State) -> None:
        """Finish the hook in which the state was captured, then continue with the next epoch."""
        model, known = self._owner.model, self._recorder.callbacks
        model.stop_training = state.stopped
        self._set_callbacks(state)
        self._restore_random(state.random)
        logs = dict(state.logs)  # shared: ReduceLROnPlateau adds to it what History keeps
        for name in state.unfinished:
            if name in known and self._has_state_of(name, known[name], state):
                known[name].on_epoch_end(state.epoch, logs)
        self._keep_later()
        self._random = rng.capture()
        if model.stop_training:
            self._report_finished(state, "was stopped by a callback")
        elif state.epoch + 1 >= self._epochs:
            self._report_finished(state, f"is done; raise epochs={self._epochs} to continue")
        else:
            self._continue_with(state, state.epoch + 1)

    def _continue_with(self, state: State, epoch: int) -> None:
        reason = position.cannot_find_epoch(self._fit, state, self._processes)
        but = f", but the data comes in another order: {reason}" if reason else self._doubt()
        self._show(f"continuing from {self.version.reference} with epoch {epoch + 1}{but}")
        self._set_first_epoch(epoch)
        self._find_position(state, epoch, found=reason is None)

    def _begin_in_epoch(self, state: State, batch: int) -> None:
        model = self._owner.model
        self._set_callbacks(state)
        if state.epoch >= self._epochs:  # no position is searched beyond the epochs of this fit
            self._keep_later()
            self._report_finished(state, f"is done; raise epochs={self._epochs} to continue")
            return
        self._set_first_epoch(state.epoch)
        where = f"{self.version.reference} in epoch {state.epoch + 1}, after batch {batch + 1}"
        reason = position.cannot_find_batch(self._fit, state, self._processes)
        if reason is not None:
            self._show(f"continuing from {where}: {reason}, so {position.FALLBACK}")
            self._random = state.random
            self._keep_later()
            self._find_position(state, state.epoch, found=False)
            return
        self._show(f"continuing from {where}{self._doubt()}")
        self._find_position(state, state.epoch, found=True)
        metrics = {id(variable) for variable in metrics_of(model)}
        self._values = [
            (variable, _copy_of(variable))
            for variable in variables_of(model)
            if id(variable) not in metrics
        ]
        self._random = state.random_at_epoch

    def _keep_later(self) -> None:
        """Keep the states of the callbacks after the owner, because on_train_begin resets them."""
        later = self._recorder.after_owner(self._recorder.callbacks.values())
        self._later = [(callback, callback_state.get_state(callback)) for callback in later]

    def _find_position(self, state: State, epoch: int, *, found: bool) -> None:
        """Bring the data to the position where an epoch begins; without found it begins again."""
        first = state.first_epoch if found else epoch
        self._recorder.begin(self._fit, first)
        number = seek.batches_to_read(self._fit, epoch - first)
        if number:
            self._show(f"reading {number} batches again to find the position in the data")
        rng.restore(self._random_here)  # that the first batches of a generator come from
        seek.seek(self._fit, epoch - first, state.data.get("batches"))

    def _doubt(self) -> str:
        doubt = position.doubt(self._fit)
        return f" (exact if: {doubt})" if doubt else ""

    def _replay_batches(self, epoch: int) -> None:
        state, model = self.state, self._owner.model
        assert state is not None
        batches = int(state.batch or 0) + 1
        position.start_epoch(self._fit, epoch, batches - 1)
        model.train_function = replay_batches.BatchReplay(model, batches, dict(state.logs))
        self._is_replaying = True

    def _set_moment(self, state: State) -> None:
        """Set everything to the saved state."""
        model = self._owner.model  # on JAX reading it puts the current values into the variables
        for variable, value in self._values:
            variable.assign(value)
        self._values = []
        try:
            load_version.put(metrics_of(model), state.metrics, "metrics")
        except CannotResume as error:
            self._show(f"the metrics of epoch {state.epoch + 1} start again from zero: {error}")
        self._set_callbacks(state)
        self._restore_random(state.random)
        model.stop_training = state.stopped

    def _set_callbacks(self, state: State) -> None:
        for name, callback in self._recorder.callbacks.items():
            if self._has_state_of(name, callback, state):
                callback_state.set_state(callback, state.callbacks[name])

    @staticmethod
    def _has_state_of(name: str, callback: Any, state: State) -> bool:
        return name in state.callbacks and callback_state.belongs(callback, state.callbacks[name])

    def _restore_later(self) -> None:
        private_fit.set_first_epoch(self._owner.model, None)
        for callback, state in self._later:
            callback_state.set_state(callback, state)
        self._later = []

    def _compare(self, state: State) -> None:
        """Print what differs between the saved run and this one."""
        here, name = self._recorder.callbacks, self.version.reference
        rank = f"rank {self._rank}: " if self._rank else ""
        for missing in self._recorder.missing(state):
            show(f"{rank}{name} holds the state of {missing}, and this fit has no such callback")
        for new, callback in here.items():
            if not self._has_state_of(new, callback, state):
                show(f"{rank}{name} holds no state of {new}, which starts without one")
        if state.hidden_noise:
            self._show(
                f"{name} is of a run that draws random numbers with tf.random "
                f"({', '.join(state.hidden_noise)}): this run draws other ones"
            )
        if unsaved := self._recorder.unsaved_of(state):
            self._show(
                f"{name} is of a run with {', '.join(unsaved)}, which no version holds: this run "
                "begins with new ones, so the results may differ"
            )
        if other := self._other_devices(state):
            self._show(f"{name} was saved with {other}")
        now = (keras.backend.backend(), keras.__version__)
        if (state.framework, state.keras_version) != now:
            self._show(
                f"{name} was saved with Keras {state.keras_version} on {state.framework}, this is "
                f"{now[1]} on {now[0]}: the results will not be equal to the last bit"
            )

    def _other_devices(self, state: State) -> str | None:
        if self._processes != state.processes:
            numbers = state.processes, self._processes
            return other_processes(state.devices, devices(self._owner.model), numbers, self._lost)
        now = devices(self._owner.model)
        is_same = state.framework != keras.backend.backend() or state.devices in ("", now)
        return None if is_same else f"{state.devices}, and this run has {now}: {LAST_BITS}"

    def _restore_random(self, random: dict[str, Any]) -> None:
        if not self._lost & {"random", "random_at_epoch"}:
            rng.restore(random)

    def _show(self, text: str) -> None:
        """Print a message that is the same on all ranks."""
        if self._rank == 0:
            show(text)

    def _report_finished(self, state: State, how: str) -> None:
        self._show(
            f"nothing is left to train: the run of {self.version.reference} {how} "
            f"(epoch {state.epoch + 1} of {self._epochs})"
        )
        self._set_first_epoch(max(self._epochs, 1))

    def _set_first_epoch(self, epoch: int) -> None:
        private_fit.set_first_epoch(self._owner.model, epoch)

    @property
    def _epochs(self) -> int:
        return int(self._owner.params["epochs"])

"""Going on from a version as if nothing had happened.

A checkpoint is saved inside a hook, and its state is of that moment. So after the end of an epoch
a run goes on by giving that hook to the callbacks that had not had it yet. In the middle of an
epoch the epoch begins again, its batches are passed over (position.py), and in the hook of the
last of them everything is set to the state of the save.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kept.errors import CannotResume
from kept.messages import show
from kept.training.data import data_state, seek, skip_batches
from kept.training.resume import callback_state, load_version, position, rng
from kept.training.resume.state import metrics_of, seeds_of
from kept.training.snapshot.variables import variables_of

if TYPE_CHECKING:
    from kept.training.data.running_fit import Fit
    from kept.training.resume.load_version import Found
    from kept.training.resume.state import Recorder, State
    from kept.training.snapshot.frameworks import Variable

_WITHOUT_STATE = "random generators, callbacks, metrics and the position in the data"


class Resumption:
    """One resumption of one fit, by one callback that hands its hooks on."""

    def __init__(self, owner: Any, found: Found) -> None:
        """Put the version's weights into the owner's model; raises CannotResume."""
        self.version = found.version
        self.state = found.state
        self._owner = owner
        self._later: list[tuple[Any, Any]] = []  # callbacks that begin after us, their states
        self._random: dict[str, Any] | None = None  # for the first epoch to begin with
        self._values: list[tuple[Variable, Any]] = []  # to be put in after passing over
        self._passing = False
        load_version.load(found, owner.model)
        found.folder.cleanup()
        if self.state is not None:
            load_version.put(seeds_of(owner.model), self.state.seeds, "seed generators")

    def begin(self, recorder: Recorder, fit: Fit) -> None:
        """For on_train_begin: set the first epoch, and say what will not be as it was."""
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
        """For on_epoch_begin: do what has to wait until all callbacks have begun."""
        self._put_back()
        if self._random is not None:
            data_state.restore_own(self._fit, self.state.data.get("own", {}) if self.state else {})
            rng.restore(self._random)
            self._random = None
        if self._values and not self._passing:
            self._pass_over(epoch)

    def passes(self, batch: int) -> bool:
        """For on_train_batch_end: return whether the batch had been done before the save."""
        if not self._passing:
            return False
        state = self.state
        if state is not None and batch >= int(state.batch or 0):
            self._passing = False
            self._set_moment(state)
        return True

    def epoch_end(self) -> None:
        """For on_epoch_end; raises CannotResume if the data had too few batches."""
        if self._passing:
            raise skip_batches.too_few()

    def end(self) -> None:
        """For on_train_end: leave everything as it should be where no epoch was left."""
        self._put_back()

    def _begin_without_state(self) -> None:
        metadata, name = self.version.metadata, self.version.reference
        epoch, batch = metadata.get("epoch"), metadata.get("batch")
        first = 0 if not isinstance(epoch, int) else epoch + (batch is None)
        show(
            f"going on from {name} at the start of epoch {first + 1}; it has no state, so "
            f"{_WITHOUT_STATE} are not restored"
        )
        self._set_first_epoch(first)

    def _begin_after_epoch(self, state: State) -> None:
        """Finish the hook in which the state was taken, then go on with the next epoch."""
        model, known = self._owner.model, self._recorder.callbacks
        model.stop_training = state.stopped
        self._set_callbacks(state)
        rng.restore(state.random)
        logs = dict(state.logs)  # one for all: ReduceLROnPlateau adds to it what History keeps
        for name in state.unfinished:
            if name in known and self._has_state_of(name, known[name], state):
                known[name].on_epoch_end(state.epoch, logs)
        self._keep_later()
        self._random = rng.capture()
        if model.stop_training:
            self._finished(state, "had been ended by a callback")
        elif state.epoch + 1 >= self._epochs:
            self._finished(state, f"is done; raise epochs={self._epochs} to go on")
        else:
            self._go_on_with(state, state.epoch + 1)

    def _go_on_with(self, state: State, epoch: int) -> None:
        reason = position.cannot_go_on(self._fit, state)
        but = f", but the data comes in another order: {reason}" if reason else self._doubt()
        show(f"going on from {self.version.reference} with epoch {epoch + 1}{but}")
        self._set_first_epoch(epoch)
        self._find_place(state, epoch, found=reason is None)

    def _begin_in_epoch(self, state: State, batch: int) -> None:
        model = self._owner.model
        self._set_callbacks(state)
        self._set_first_epoch(state.epoch)
        where = f"{self.version.reference} in epoch {state.epoch + 1}, after batch {batch + 1}"
        reason = position.cannot_pass_over(self._fit, state)
        if reason is not None:
            show(f"going on from {where}: {reason}, so {position.FALLBACK}")
            self._random = state.random
            self._keep_later()
            self._find_place(state, state.epoch, found=False)
            return
        show(f"going on from {where}{self._doubt()}")
        self._find_place(state, state.epoch, found=True)
        metrics = {id(variable) for variable in metrics_of(model)}
        self._values = [
            (variable, np.array(keras.ops.convert_to_numpy(variable)))
            for variable in variables_of(model)
            if id(variable) not in metrics
        ]
        self._random = state.random_at_epoch

    def _keep_later(self) -> None:
        """Keep the states of the callbacks that begin after us, which resets them."""
        later = self._recorder.after_owner(self._recorder.callbacks.values())
        self._later = [(callback, callback_state.get_state(callback)) for callback in later]

    def _find_place(self, state: State, epoch: int, *, found: bool) -> None:
        """Bring the data to where an epoch begins, or note that it begins anew with it."""
        first = state.first_epoch if found else epoch
        self._recorder.begin(self._fit, first)
        number = seek.batches_to_read(self._fit, epoch - first)
        if number:
            show(f"reading {number} batches again to find the place in the data")
        rng.restore(self._random_here)  # which a generator's first batches come from
        seek.seek(self._fit, epoch - first, state.data.get("batches"))

    def _doubt(self) -> str:
        doubt = position.doubt(self._fit)
        return f" (exact if: {doubt})" if doubt else ""

    def _pass_over(self, epoch: int) -> None:
        state, model = self.state, self._owner.model
        assert state is not None
        batches = int(state.batch or 0) + 1
        position.start_epoch(self._fit, epoch, batches - 1)
        model.train_function = skip_batches.PassOver(model, batches, dict(state.logs))
        self._passing = True

    def _set_moment(self, state: State) -> None:
        """Set everything to the state of the save."""
        model = self._owner.model  # on JAX this gives the variables their values back
        for variable, value in self._values:
            variable.assign(value)
        self._values = []
        try:
            load_version.put(metrics_of(model), state.metrics, "metrics")
        except CannotResume as error:
            show(f"the metrics of epoch {state.epoch + 1} begin anew: {error}")
        self._set_callbacks(state)
        rng.restore(state.random)
        model.stop_training = state.stopped

    def _set_callbacks(self, state: State) -> None:
        for name, callback in self._recorder.callbacks.items():
            if self._has_state_of(name, callback, state):
                callback_state.set_state(callback, state.callbacks[name])

    @staticmethod
    def _has_state_of(name: str, callback: Any, state: State) -> bool:
        return name in state.callbacks and callback_state.belongs(callback, state.callbacks[name])

    def _put_back(self) -> None:
        self._owner.model._initial_epoch = None  # noqa: SLF001 - Keras never resets it
        for callback, state in self._later:
            callback_state.set_state(callback, state)
        self._later = []

    def _compare(self, state: State) -> None:
        """Say what differs between the run that was saved and this one."""
        here, name = self._recorder.callbacks, self.version.reference
        for missing in self._recorder.missing(state):
            show(f"{name} holds the state of {missing}, and this fit has no such callback")
        for new, callback in here.items():
            if not self._has_state_of(new, callback, state):
                show(f"{name} holds no state of {new}, which begins anew")
        now = (keras.backend.backend(), keras.__version__)
        if (state.framework, state.keras_version) != now:
            show(
                f"{name} was saved with Keras {state.keras_version} on {state.framework}, this is "
                f"{now[1]} on {now[0]}: the results will not be the same to the last bit"
            )

    def _finished(self, state: State, how: str) -> None:
        show(
            f"nothing is left to train: the run of {self.version.reference} {how} "
            f"(epoch {state.epoch + 1} of {self._epochs})"
        )
        self._set_first_epoch(max(self._epochs, 1))

    def _set_first_epoch(self, epoch: int) -> None:
        self._owner.model._initial_epoch = epoch  # noqa: SLF001 - as BackupAndRestore does

    @property
    def _epochs(self) -> int:
        return int(self._owner.params["epochs"])

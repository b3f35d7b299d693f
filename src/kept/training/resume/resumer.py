"""Captures the states of a callback's fits and resumes one; the callback passes its hooks on."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import keras

from kept.errors import CannotResume, Damaged, InvalidCheckpoint, NotFound
from kept.messages import show
from kept.names import parse_reference
from kept.store.health.state import health_of
from kept.store.log.lookup import moved_to, view_of
from kept.store.origin.uses import held
from kept.training.data.devices import devices
from kept.training.data.running_fit import Fit, running_fit, when_over
from kept.training.data.unsaved import (
    UnsavedValues,
    callbacks_without_state,
    layers_without_state,
    random_generators,
)
from kept.training.group.agreement import Agreement, next_key
from kept.training.keras_api import private_fit
from kept.training.resume import load_version, position, rng
from kept.training.resume.resumption import Resumption
from kept.training.resume.state import Recorder, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kept.store.origin.uses import Held
    from kept.store.store import Store
    from kept.store.version import Version
    from kept.training.group.base import Group


class Resumer:
    """Captures the states of a callback's fits, and resumes the first fit."""

    def __init__(self, owner: Any, state_of: Sequence[Any] | None) -> None:
        """Raises InvalidCheckpoint if a callback in state_of has no state."""
        self._owner = owner
        self._recorder = Recorder(owner, state_of)
        self._fit = Fit()
        self._resumption: Resumption | None = None
        self._prepared: tuple[Group | None, str] = None, ""  # who resumes together, and its name
        self._hidden_noise: list[str] | None = None  # of this fit; None until its first save
        # Values in layers and in callbacks at the start of this fit.
        self._values = UnsavedValues([]), UnsavedValues([])
        self._unsaved: list[str] = []  # of this fit, found at its first save
        self._later: str | None = None  # a version that a later fit of this script continues from
        self._ended = 0  # fits that have ended normally
        self.parent: dict[str, str] | None = None  # of the versions that this run saves
        self.resumed_from: Held | None = None

    def prepare(
        self,
        store: Store,
        name: str,
        resume: object,
        group: Group | None = None,
        *,
        key: str | None = None,
    ) -> None:
        """Load the version that resume names, or the newest one of the artifact if it is True.

        A script may call fit several times with one callback. The newest version is then that of
        one of these fits, and the fits before it train nothing. All ranks of a group call this with
        one key, and all raise the same error if one cannot resume. Raises NotFound, Damaged or
        CannotResume.
        """
        key = key or next_key(group)
        agreement = Agreement(group, key)
        self._recorder.is_required = True
        self._resumption = self._later = None  # of a fit that failed
        self._prepared = None, ""
        reference = resume if isinstance(resume, str) else name
        found = load_version.find(store, reference, agreement, self._owner.model)
        if found is None:
            if agreement.is_first:
                _report_new_name(store, parse_reference(reference).name)
            return
        self.parent = {"reference": found.version.reference, "digest": found.version.digest}
        self.resumed_from = held(found.version)
        if agreement.is_first:
            _report_health(found.version)
        if resume is True and found.state is not None and found.state.fit > self._ended:
            self._later = found.version.reference
        with agreement.step(f"build the model for {found.version.reference}"):
            if not self._owner.model.built:
                private_fit.build(self._owner.model, running_fit().epochs)
        self._prepared = group, f"{key}/begin"
        try:
            self._resumption = Resumption(self._owner, found, agreement)
        except CannotResume:
            if self._later is None:  # a later fit may train other weights
                raise

    def before_fit(self) -> None:
        """Restore the seed of TensorFlow, because fit reads it before it calls any callback."""
        state = self._resumption and self._resumption.state
        if state and state.framework == keras.backend.backend() == "tensorflow":
            rng.restore_seed(state.random["framework"])

    def begin(self) -> None:
        """Begin a fit: on_train_begin calls it, from a frame of that fit.

        After prepare all ranks call it, and all raise the same error if one fails.
        """
        (group, key), self._prepared = self._prepared, (None, "")
        with Agreement(group, key).step("begin the resumed fit"):
            self._begin()

    def _begin(self) -> None:
        self._fit = fit = running_fit()
        when_over(lambda: self._free(fit))
        self._hidden_noise = None
        layers, callbacks = layers_without_state(self._owner.model), callbacks_without_state(fit)
        self._values = UnsavedValues(layers), UnsavedValues(callbacks)
        self._recorder.begin(self._fit, None)
        private_fit.drop_read_ahead(self._fit.adapter)
        if self._later is not None:
            show(f"nothing is left to train in this fit: {self._later} is of a later one")
            private_fit.set_first_epoch(
                self._owner.model, max(int(self._owner.params["epochs"]), 1)
            )
        elif self._resumption is not None:
            self._resumption.begin(self._recorder, self._fit)

    def epoch_begin(self, epoch: int) -> None:
        """Begin an epoch: on_epoch_begin calls it."""
        position.start_epoch(self._fit, epoch)
        if self._resumption is not None:
            self._resumption.epoch_begin(epoch)
        self._recorder.epoch_begin(epoch)

    def passes(self, batch: int) -> bool:
        """Return whether the batch was only replayed; on_train_batch_end calls it."""
        return self._resumption is not None and self._resumption.passes(batch)

    def epoch_end(self) -> None:
        """End an epoch; raises CannotResume if the data ended before the saved position."""
        if self._resumption is not None:
            self._resumption.epoch_end()

    def end(self) -> bool:
        """End a fit, and return whether the next one continues it; on_train_end calls it."""
        is_resumed = self._later is None
        if not is_resumed:
            private_fit.set_first_epoch(self._owner.model, None)
        elif self._resumption is not None:
            self._resumption.end()
        self._ended += 1
        self._free(self._fit)
        return is_resumed

    def _free(self, fit: Fit) -> None:
        """Free what belongs to a fit that has ended, unless the next one has begun."""
        if self._fit is fit:
            self._resumption = None
            self._fit = Fit()
            self._recorder.begin(self._fit, None)

    def capture(self, epoch: int, batch: int | None, logs: Mapping[str, Any]) -> State:
        """Return the state of this moment, for a checkpoint."""
        if self._hidden_noise is None:
            self._hidden_noise = _report_hidden_noise(self._owner.model)
            self._unsaved = self._report_unsaved(self._owner.model, self._fit)
        state = self._recorder.capture(epoch, batch, logs)
        state.hidden_noise, state.unsaved = self._hidden_noise, self._unsaved
        state.devices = devices(self._owner.model)
        state.fit = self._ended
        return state

    def _report_unsaved(self, model: keras.Model, fit: Fit) -> list[str]:
        """Return the generators and values that no version holds; print them, too.

        Values of callbacks, such as times, matter to few: they are printed if the user resumes.
        """
        layers, callbacks = self._values
        found = [*random_generators(model, fit), *layers.changed(layers_without_state(model))]
        of_callbacks = callbacks.changed(callbacks_without_state(fit))
        told = [*found, *(of_callbacks if self._recorder.is_required else [])]
        if told:
            show(
                f"versions do not hold {', '.join(told)}, so a resumed run may differ; use "
                "keras.Variable and keras.random.SeedGenerator in layers, and get_state() and "
                "set_state(state) in callbacks and datasets"
            )
        if fit.kind == "GeneratorDataAdapter":
            show(
                "versions do not hold the position in a Python generator: a resumed run reads a "
                "new one, and is exact only if that gives the same batches"
            )
        return [ascii(one)[1:-1] for one in (*found, *of_callbacks)]


def _report_health(version: Version) -> None:
    """Print it if the version that a run resumes is unhealthy."""
    health, name = health_of(version.record), parse_reference(version.reference).name
    if health.is_unhealthy:
        why = f": {health.findings[0]}" if health.findings else ""
        another = f"pass resume='{name}:vN' to continue from another version"
        show(f"{version.reference} is unhealthy{why}; {another}")


def _report_hidden_noise(model: keras.Model) -> list[str]:
    """Return the operations whose random numbers a resumed run draws again; print them, too."""
    if keras.backend.backend() != "tensorflow":
        return []
    found = private_fit.hidden_random_operations(model)
    if found:
        show(
            f"the training step draws random numbers with tf.random ({', '.join(found)}), whose "
            "state TensorFlow does not show, so a resumed run differs; use keras.random with a "
            "keras.random.SeedGenerator"
        )
    return found


def check_resume(resume: object, *, named: bool) -> None:
    """Check the argument resume of a callback; raises InvalidInput."""
    if isinstance(resume, str):
        parse_reference(resume)
    elif resume and not named:
        raise InvalidCheckpoint(
            "resume=True continues from the newest version of an artifact, so it needs the name of "
            "one: pass name, or set WANDB_RUN_ID. Received: resume=True, name=None"
        )


def _report_new_name(store: Store, name: str) -> None:
    """Print where the versions are if an artifact that a run was to resume was renamed."""
    with contextlib.suppress(NotFound, Damaged):
        if new_name := moved_to(view_of(store.logs, name)):
            show(
                f"{name} was renamed to {new_name}, so this run starts from the beginning. To "
                f"continue {new_name}, pass that name"
            )

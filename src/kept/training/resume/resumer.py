"""What a callback needs to take states and to resume, in one object that it hands its hooks to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from kept.errors import InvalidCheckpoint
from kept.names import parse_reference
from kept.training.data.running_fit import Fit, running_fit
from kept.training.resume import load_version, position, rng
from kept.training.resume.resumption import Resumption
from kept.training.resume.state import Recorder, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kept.store.store import Store


class Resumer:
    """Takes the states of a callback's fits, and resumes the first of them."""

    def __init__(self, owner: Any, state_of: Sequence[Any] | None) -> None:
        """Raises InvalidCheckpoint if state_of holds what has no state."""
        self._owner = owner
        self._recorder = Recorder(owner, state_of)
        self._fit = Fit()
        self._resumption: Resumption | None = None
        self.parent: dict[str, str] | None = None  # of the versions to come

    def prepare(self, store: Store, reference: str) -> None:
        """Load what a run goes on from; raises NotFound, Damaged or CannotResume."""
        found = load_version.find(store, reference)
        if found is not None:
            self._resumption = Resumption(self._owner, found)
            self.parent = {"reference": found.version.reference, "digest": found.version.digest}

    def before_fit(self) -> None:
        """Restore what fit reads before it calls any callback: the seed TensorFlow shuffles by."""
        state = self._resumption and self._resumption.state
        if state and state.framework == keras.backend.backend() == "tensorflow":
            rng.restore_seed(state.random["framework"])

    def begin(self) -> None:
        """For on_train_begin, called by it and not from elsewhere."""
        self._fit = running_fit()
        self._recorder.begin(self._fit, None)
        position.forget_read_ahead(self._fit)
        if self._resumption is not None:
            self._resumption.begin(self._recorder, self._fit)

    def epoch_begin(self, epoch: int) -> None:
        """For on_epoch_begin."""
        position.start_epoch(self._fit, epoch)
        if self._resumption is not None:
            self._resumption.epoch_begin(epoch)
        self._recorder.epoch_begin(epoch)

    def passes(self, batch: int) -> bool:
        """For on_train_batch_end: return whether the batch is only passed over."""
        return self._resumption is not None and self._resumption.passes(batch)

    def epoch_end(self) -> None:
        """For on_epoch_end; raises CannotResume if the place in the data was not reached."""
        if self._resumption is not None:
            self._resumption.epoch_end()

    def end(self) -> None:
        """For on_train_end."""
        if self._resumption is not None:
            self._resumption.end()
            self._resumption = None

    def capture(self, epoch: int, batch: int | None, logs: Mapping[str, Any]) -> State:
        """Return the state of this moment, for a checkpoint that is being saved."""
        return self._recorder.capture(epoch, batch, logs)


def check_resume(resume: bool | str, *, named: bool) -> bool | str:  # noqa: FBT001
    """Return the argument resume of a callback; raises InvalidInput."""
    if isinstance(resume, str):
        parse_reference(resume)
    elif resume and not named:
        raise InvalidCheckpoint(
            "resume=True goes on from the newest version of an artifact, so it needs to know which "
            "one: pass name, or set WANDB_RUN_ID. Received: resume=True, name=None"
        )
    return resume

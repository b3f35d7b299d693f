"""kept.resume: continues from a version without saving new ones."""
# ruff: noqa: ARG002 - the hooks have the arguments that Keras passes

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from kept.errors import ArtifactNotFound
from kept.store.open import open_store
from kept.store.store import Store
from kept.training.data.running_fit import KeepsNoModel
from kept.training.group.agreement import Agreement, next_key
from kept.training.group.base import LIMIT
from kept.training.group.open import find_group
from kept.training.keras_api.keras3 import check_version
from kept.training.resume.resumer import Resumer

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from kept.store.origin.uses import Held
    from kept.training.group.base import Group
    from kept.training.resume.base import Logs


def resume(
    model: keras.Model,
    reference: str,
    *,
    store: Store | str | os.PathLike[str] | None = None,
    callbacks: Sequence[Any] | None = None,
    group: Any = None,
) -> Resume:
    """Put a version's weights and optimizer state into a compiled, built model, now.

    Pass the callback that it returns to fit, at any place in the list. It restores everything
    else: the next epoch and batch, random generators, metrics and the other callbacks. These are
    the argument callbacks, or all that have a state without it. fit(epochs=N) stays as it was.

    Call it on all processes that train the model together; group is as in kept.ModelCheckpoint.
    All of them get the same version, and all raise the same error if one cannot read it.

    If reference names the newest version and that is damaged, it takes the newest undamaged one
    and prints a message. Raises ArtifactNotFound, VersionNotFound, CannotResume or Damaged.
    """
    check_version(keras.__version__)
    members = find_group(group, LIMIT)
    key = next_key(members)
    with Agreement(members, f"{key}/store").step("open the store"):
        place = store if isinstance(store, Store) else open_store(store)
        callback = Resume(callbacks)
        callback.set_model(model)
    callback.load(place, reference, members, key=key)
    return callback


class Resume(KeepsNoModel, keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Resumes the first fit that it is passed to; kept.resume makes it."""

    def __init__(self, callbacks: Sequence[Any] | None = None) -> None:
        super().__init__()
        self._resumer = Resumer(self, callbacks)

    @property
    def parent(self) -> dict[str, str] | None:
        """The reference and the digest of the version."""
        return self._resumer.parent

    @property
    def resumed_from(self) -> Held | None:
        """The version and its store, for the versions that the fit saves."""
        return self._resumer.resumed_from

    def load(
        self, store: Store, reference: str, group: Group | None = None, *, key: str | None = None
    ) -> None:
        """Load the version into the callback's model; all ranks give the same key."""
        self._resumer.prepare(store, reference, reference, group, key=key)
        if self._resumer.parent is None:
            raise ArtifactNotFound(f"{reference} has no version in {store.location}")
        self._resumer.before_fit()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Set the first epoch."""
        self._resumer.begin()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Restore the random states of the epoch's start."""
        self._resumer.epoch_begin(epoch)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Replay the batches that were done."""
        self._resumer.passes(batch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Check that the data had all batches that were done; raises CannotResume."""
        self._resumer.epoch_end()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Restore the other callbacks, if no epoch was left."""
        self._resumer.end()

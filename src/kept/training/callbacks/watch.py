"""Watches a training for verify_resume: it digests everything that belongs to the run."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kept.digest import digest
from kept.training.resume import rng
from kept.training.snapshot.variables import metrics_of, seeds_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Moment = tuple[int, int]  # epoch, batch; batch -1 is the end of the epoch before
    Digests = dict[str, str]  # part of the run -> digest; causes before effects
    Digested = dict[Moment, Digests]

_NEVER = 2**31


class Enough(BaseException):
    """Ends a fit that a Watch has seen enough of."""


class Watch(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Digests everything at the end of each batch, and ends the fit after a number of batches."""

    def __init__(self, batches: int, since: Moment = (0, 0)) -> None:
        super().__init__()
        self.seen: Digested = {}
        self._left, self._since = batches, since
        self._epoch = 0
        self._data: Digests = {}

    def on_train_begin(self, *_: object) -> None:
        """Look at each batch that the model trains on."""
        model, train = self.model, self.model.train_function
        self._real = train

        def watched(*args: Any) -> Any:
            *state, data = args
            batches = data if isinstance(data, list) else _take(data, model.steps_per_execution)
            self._data = {"batch order (the data of the batch)": _digest(batches)}
            return train(*state, data if isinstance(data, list) else iter(batches))

        model.train_function = watched

    def on_epoch_begin(self, epoch: int, *_: object) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Digest the run; raise Enough after the last batch."""
        if (self._epoch, batch) < self._since:
            return
        self.seen[self._epoch, batch] = self._data | _digests(self.model) | {
            "logs": _digest(dict(logs or {}))
        }  # fmt: skip
        self._end_batch(batch)

    def _end_batch(self, _: int) -> None:
        self._left -= 1
        if not self._left:
            self.model.train_function = self._real
            raise Enough


class SavingWatch(Watch):
    """Also makes a callback save once within an epoch, and then once at the end of an epoch.

    It sets the callback's save_freq in the hook before the one that is to save.
    """

    def __init__(self, checkpoint: Any, after: int | str, then: int) -> None:
        """Save within an epoch after a number of batches; after="epoch" leaves that one out."""
        super().__init__(then if isinstance(after, str) else after + then)
        self.saved: list[Moment] = []  # of each version
        self._checkpoint, self._after = checkpoint, after
        checkpoint.save_freq = "epoch" if isinstance(after, str) else _NEVER

    def on_train_batch_begin(self, *_: object, **__: object) -> None:
        """Let the callback save at the end of this batch, if it is the one."""
        if self._after == len(self.seen) + 1:
            self._checkpoint.save_freq = 1

    def on_epoch_end(self, epoch: int, *_: object, **__: object) -> None:
        """Note the save."""
        if self._checkpoint.save_freq == "epoch":
            self.saved.append((epoch + 1, -1))
            self._checkpoint.save_freq = _NEVER

    def _end_batch(self, batch: int) -> None:
        if self._checkpoint.save_freq == 1:
            self.saved.append((self._epoch, batch))
            self._checkpoint.save_freq = "epoch"
        if self.saved or isinstance(self._after, int):  # else it counts from the first epoch's end
            super()._end_batch(batch)


def _take(iterator: Iterator[Any], number: int) -> list[Any]:
    return [next(iterator), *islice(iterator, number - 1)]


def _digests(model: keras.Model) -> Digests:
    """Return digests of the state of a run, causes before effects."""
    found: dict[str, Any] = {"learning rate": model.optimizer.learning_rate}
    found |= {f"random state of {v.path}": v for v in seeds_of(model)}
    found |= {f"random state of {name}": state for name, state in rng.capture().items()}
    found |= {f"weights {v.path}": v for v in model.weights}
    found |= {f"optimizer slot {v.path}": v for v in model.optimizer.variables}
    found |= {f"metric {v.path}": v for v in metrics_of(model)}
    # The names of two models in one process have different numbers, so the parts are numbered.
    return {f"{n}: {name}": _digest(value) for n, (name, value) in enumerate(found.items())}


def _digest(value: Any) -> str:
    leaves = keras.tree.flatten(value)
    return digest(b"".join(_bytes(leaf) for leaf in leaves if leaf is not None))


def _bytes(leaf: Any) -> bytes:
    if isinstance(leaf, (str, int, float)):
        return repr(leaf).encode()
    return np.asarray(keras.ops.convert_to_numpy(leaf)).tobytes()

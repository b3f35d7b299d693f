"""kept.verify_resume: proves that a training script resumes to the same bits.

It runs the training twice: once without interruption, and once from a version that the first run
saved. At the end of every batch it digests everything that belongs to the run, and compares the
digests.
"""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kept.digest import digest
from kept.errors import CannotResume, InvalidInput
from kept.store.open import open_store
from kept.training.callbacks.model_checkpoint import ModelCheckpoint
from kept.training.resume import rng
from kept.training.snapshot.variables import metrics_of, seeds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from kept.store.store import Store

    Train = Callable[[list[keras.callbacks.Callback]], Any]
    Moment = tuple[int, int]  # epoch, batch
    Digests = dict[str, str]  # part of the run -> digest; the first difference is reported

_NAME = "verify-resume"


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of verify_resume."""

    batches: int  # compared batches, with the last one before the resumption
    difference: str | None  # the first difference

    @property
    def same(self) -> bool:
        """Whether the resumed run was equal to the last bit."""
        return self.difference is None

    def raise_if_different(self) -> None:
        """Raise CannotResume if the resumed run differs."""
        if self.difference is not None:
            raise CannotResume(f"The resumed run is not the same: {self.difference}")


def verify_resume(train: Train, *, after: int = 5, then: int = 5) -> Verification:
    """Check if a training resumes exactly, and name the first difference if it does not.

    It calls train twice with a list of callbacks. train builds a new model, new data and its own
    callbacks, and calls model.fit with callbacks=[*its_own, *the_list]. The first run has after +
    then batches without interruption. The second run resumes after the first after batches, and
    has then more. An exception ends each fit, and verify_resume catches it. In between,
    verify_resume reseeds the random generators of the process.

    Raises InvalidInput if the training has fewer batches.
    """
    if after < 1 or then < 1:
        raise InvalidInput(f"after and then must be 1 or more. Received: {after=}, {then=}")
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        store = open_store(f"{folder}/store")
        straight = _Watch(after + then)
        _run(train, _checkpoint(folder, store, save_freq=after), straight)
        moments = list(straight.seen)[after - 1 :]
        if len(moments) <= then:
            raise InvalidInput(
                f"The training has only {len(straight.seen)} batches. Received: {after=}, {then=}"
            )
        _reseed()
        resumed = _Watch(then + 1, since=moments[0])
        _run(train, _checkpoint(folder, store, resume=f"{_NAME}:v0"), resumed)
    return _compare({moment: straight.seen[moment] for moment in moments}, resumed.seen)


def _checkpoint(
    folder: str, store: Store, save_freq: int = 2**31, *, resume: bool | str = False
) -> ModelCheckpoint:
    return ModelCheckpoint(
        f"{folder}/checkpoint.weights.h5",
        monitor="loss",
        save_weights_only=True,
        store=store,
        name=_NAME,
        save_freq=save_freq,
        grace_seconds=None,
        resume=resume,
    )


class _Enough(BaseException):
    pass


def _run(train: Train, checkpoint: ModelCheckpoint, watch: _Watch) -> None:
    try:
        train([checkpoint, watch])
    except _Enough:
        pass
    finally:
        checkpoint.close()


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Digests everything at the end of each batch, and ends the fit after a number of batches."""

    def __init__(self, batches: int, since: Moment = (0, 0)) -> None:
        super().__init__()
        self.seen: dict[Moment, Digests] = {}
        self._left, self._since = batches, since
        self._epoch = 0
        self._data: Digests = {}

    def on_train_begin(self, *_: object) -> None:
        model, train = self.model, self.model.train_function
        self._real = train

        def watched(*args: Any) -> Any:
            *state, data = args
            batches = data if isinstance(data, list) else _take(data, model.steps_per_execution)
            self._data = {"batch order (the data of the batch)": _digest(batches)}
            return train(*state, data if isinstance(data, list) else iter(batches))

        model.train_function = watched

    def on_epoch_begin(self, epoch: int, *_: object) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if (self._epoch, batch) < self._since:
            return
        self.seen[self._epoch, batch] = self._data | _digests(self.model) | {
            "logs": _digest(dict(logs or {}))
        }  # fmt: skip
        self._left -= 1
        if not self._left:
            self.model.train_function = self._real
            raise _Enough


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


def _reseed() -> None:
    """Reseed the random generators, because those of a new process differ, too."""
    random.seed()
    np.random.seed()
    if keras.backend.backend() == "torch":
        import torch

        torch.seed()


def _compare(straight: Mapping[Moment, Digests], resumed: Mapping[Moment, Digests]) -> Verification:
    difference = None
    for moment, wanted in straight.items():
        difference = _difference(moment, wanted, resumed.get(moment))
        if difference is not None:
            break
    return Verification(len(straight), difference)


def _difference(moment: Moment, wanted: Digests, got: Digests | None) -> str | None:
    where = f"epoch {moment[0] + 1}, batch {moment[1] + 1}"
    if got is None:
        return f"the resumed run did not train on {where}"
    found = zip(_sorted(wanted), _sorted(got), strict=False)
    for (name, before), (_, now) in found:
        if before != now:
            return f"{name} after {where}"
    return None


def _sorted(digests: Digests) -> Sequence[tuple[str, str]]:
    return [(name.partition(": ")[2] or name, value) for name, value in digests.items()]

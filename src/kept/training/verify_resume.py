"""kept.verify_resume: proves that a training script resumes to the same bits.

It runs the training without interruption, and then once from each version that this run saved: one
from within an epoch, and one from the end of an epoch. At the end of every batch it digests
everything that belongs to the run, and compares the digests.
"""

from __future__ import annotations

import multiprocessing
import pickle
import random
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kept.errors import CannotResume, InvalidInput
from kept.store.open import open_store
from kept.training.callbacks.model_checkpoint import ModelCheckpoint
from kept.training.callbacks.watch import Enough, SavingWatch, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kept.training.callbacks.watch import Digested, Digests, Moment

    Train = Callable[[list[keras.callbacks.Callback]], Any]

_NAME = "verify-resume"
_FAILED = (pickle.PicklingError, AttributeError, TypeError)


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of verify_resume."""

    batches: int  # compared batches, with the last one before the resumption
    difference: str | None  # the first difference
    resumed_from: tuple[str, ...] = field(default=(), compare=False)  # where the runs continued

    @property
    def same(self) -> bool:
        """Whether the resumed run was equal to the last bit."""
        return self.difference is None

    def raise_if_different(self) -> None:
        """Raise CannotResume if the resumed run differs."""
        if self.difference is not None:
            raise CannotResume(f"The resumed run is not the same: {self.difference}")


@dataclass(frozen=True, slots=True)
class _Straight:
    """What the run without interruption was, and which versions it saved."""

    seen: Digested
    saved: list[Moment]  # of each version


def verify_resume(
    train: Train, *, after: int | str = 5, then: int = 5, fresh_process: bool = False
) -> Verification:
    """Check if a training resumes exactly, and name the first difference if it does not.

    It calls train up to three times with a list of callbacks. train builds a new model, new data
    and its own callbacks, and calls model.fit with callbacks=[*its_own, *the_list]. The first run
    has after + then batches without interruption. The second run resumes after the first after
    batches. If an epoch has ended since, and batches have followed, a third run resumes from its
    end. With after="epoch" the only save is at the end of the first epoch.

    An exception ends each fit, and verify_resume catches it. In between, verify_resume reseeds the
    random generators of the process. With fresh_process=True each run has a new process, so that
    global variables and caches of the first run cannot hide a difference. train is then a function
    of a module, or of a script that begins to work below `if __name__ == "__main__":`.

    Raises InvalidInput if the training has fewer batches, or if a new process cannot import train.
    """
    if (after != "epoch" and (not isinstance(after, int) or after < 1)) or then < 1:
        raise InvalidInput(
            f'after and then must be 1 or more, or after="epoch". Received: {after=}, {then=}'
        )
    if fresh_process:
        _check_importable(train)
    call = _in_fresh_process if fresh_process else _here
    difference, names, compared = None, [], set[tuple[int, int]]()
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        straight: _Straight = call(_run_straight, train, folder, after, then)
        for number, moment in enumerate(_resumable(straight, after, then)):
            wanted = {at: digests for at, digests in straight.seen.items() if at >= moment}
            names.append(_where(moment))
            compared |= wanted.keys()
            got = call(_run_resumed, train, folder, number, (moment, len(wanted)))
            difference = _difference(wanted, got)
            if difference is not None:
                difference += f" (resumed from {names[-1]})" if moment[1] < 0 else ""
                break
    return Verification(len(compared), difference, tuple(names))


def _resumable(straight: _Straight, after: int | str, then: int) -> list[Moment]:
    """Return the moments of the saves that batches have followed; raises InvalidInput."""
    last, batches = max(straight.seen, default=(0, -1)), len(straight.seen)
    found = [moment for moment in straight.saved if moment < last]
    if after == "epoch" and not found:
        raise InvalidInput(
            f"The training has no batch after its first epoch, only {batches} batches. "
            f"Received: {after=}, {then=}"
        )
    if isinstance(after, int) and batches < after + then:
        raise InvalidInput(f"The training has only {batches} batches. Received: {after=}, {then=}")
    return found


def _run_straight(train: Train, folder: str, after: int | str, then: int) -> _Straight:
    checkpoint = _checkpoint(folder)
    watch = SavingWatch(checkpoint, after, then)
    _run(train, checkpoint, watch)
    return _Straight(watch.seen, watch.saved)


def _run_resumed(train: Train, folder: str, number: int, part: tuple[Moment, int]) -> Digested:
    since, batches = part
    watch = Watch(batches, since=since)
    _run(train, _checkpoint(folder, resume=f"{_NAME}:v{number}"), watch)
    return watch.seen


def _here(run: Callable[..., Any], *args: Any) -> Any:
    _reseed()
    return run(*args)


def _in_fresh_process(run: Callable[..., Any], *args: Any) -> Any:
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(run, *args).result()
    except BrokenProcessPool as error:
        raise InvalidInput(
            "The fresh process ended before the training did. A script that calls verify_resume "
            'needs `if __name__ == "__main__":` before the call'
        ) from error


def _check_importable(train: Train) -> None:
    """Raise InvalidInput if another process cannot import the function."""
    main = sys.modules["__main__"]
    in_notebook = getattr(train, "__module__", None) == "__main__" and not (
        getattr(main, "__file__", None) or getattr(main, "__spec__", None)
    )
    try:
        pickle.dumps(train)
    except _FAILED as error:
        problem = str(error)
    else:
        problem = "it was defined in a notebook or in a prompt" if in_notebook else ""
    if problem:
        raise InvalidInput(
            "With fresh_process=True, train must be a function that another process can import: "
            "define it with def at the top level of a module. "
            f"Received: {getattr(train, '__qualname__', train)} ({problem})"
        )


def _checkpoint(folder: str, *, resume: bool | str = False) -> ModelCheckpoint:
    return ModelCheckpoint(
        f"{folder}/checkpoint.weights.h5",
        monitor="loss",
        save_weights_only=True,
        store=open_store(f"{folder}/store"),
        name=_NAME,
        save_freq=2**31,
        grace_seconds=None,
        resume=resume,
    )


def _run(train: Train, checkpoint: ModelCheckpoint, watch: Watch) -> None:
    try:
        train([checkpoint, watch])
    except Enough:
        pass
    finally:
        checkpoint.close()


def _reseed() -> None:
    """Reseed the random generators, because those of a new process differ, too."""
    random.seed()
    np.random.seed()
    if keras.backend.backend() == "torch":
        import torch

        torch.seed()


def _difference(straight: Digested, resumed: Digested) -> str | None:
    """Return the first difference between two runs."""
    found = (_difference_at(moment, wanted, resumed) for moment, wanted in straight.items())
    return next((one for one in found if one is not None), None)


def _difference_at(moment: Moment, wanted: Digests, resumed: Digested) -> str | None:
    where, got = _where(moment), resumed.get(moment)
    if got is None:
        return f"the resumed run did not train on {where}"
    pairs = zip(_sorted(wanted), _sorted(got), strict=False)
    for (name, before), (_, now) in pairs:
        if before != now:
            return f"{name} after {where}"
    return None


def _where(moment: Moment) -> str:
    epoch, batch = moment
    return f"epoch {epoch + 1}, batch {batch + 1}" if batch >= 0 else f"the end of epoch {epoch}"


def _sorted(digests: Digests) -> Sequence[tuple[str, str]]:
    return [(name.partition(": ")[2] or name, value) for name, value in digests.items()]

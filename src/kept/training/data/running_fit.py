"""The callbacks and the data of the running fit.

kept needs both. All callbacks with a state belong to the state of a run, and the data decides
whether its position can be found again. If kept finds neither (another Keras, a loop that the
user wrote), it uses what it was given.

Invariant: nothing here keeps a part of a fit alive, because Keras calls no hook when an exception
ends a fit. A data iterator that stays alive would keep the workers of a DataLoader running.
"""

from __future__ import annotations

import sys
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kept.training.keras_api.callers import find_fit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class _Weak:
    """Objects in their order, as long as others hold them."""

    def __init__(self, objects: Iterable[Any]) -> None:
        self._references = [weakref.ref(one) for one in objects]

    def __iter__(self) -> Iterator[Any]:
        return (one for reference in self._references if (one := reference()) is not None)


@dataclass(frozen=True, slots=True)
class Fit:
    """A running fit."""

    callbacks: Iterable[Any] = ()  # in the order of their calls; empty if not known
    epochs: Any = None  # Keras's iterator over the batches of an epoch; None if not known

    @property
    def adapter(self) -> Any:
        """Keras's adapter of the training data; None if not known."""
        return getattr(self.epochs, "data_adapter", None)

    @property
    def kind(self) -> str:
        """The class name of the adapter, which is the kind of the data."""
        return type(self.adapter).__name__

    @property
    def steps_per_epoch(self) -> int | None:
        """The argument of fit."""
        given: int | None = getattr(self.epochs, "steps_per_epoch", None)
        return given

    @property
    def batches(self) -> int | None:
        """The batches of an epoch; None if Keras learns the number in the first epoch."""
        number: int | None = getattr(self.epochs, "num_batches", None)
        return number


def running_fit() -> Fit:
    """Return the fit that calls a hook of the caller, as far as kept can see it."""
    callbacks, epochs = find_fit()
    return Fit(
        _Weak(callbacks) if callbacks else (), None if epochs is None else weakref.proxy(epochs)
    )


def when_over(call: Callable[[], None]) -> None:
    """Call a function when the fit that calls a hook of the caller is over, however it ends.

    Another thread may call it, and it may come late: what holds the frames of a fit that failed
    holds its iterator. A notebook holds them until another cell fails, so there the end of the cell
    is the end of the fit. Nothing is called if kept cannot see the fit.
    """
    _, epochs = find_fit()
    if epochs is not None:
        over = weakref.finalize(epochs, call)
        over.atexit = False
        if threading.current_thread() is threading.main_thread():  # else it outlives the cell
            _at_end_of_cell(over)


def _at_end_of_cell(over: weakref.finalize[Any, Any]) -> None:
    """Call a finalizer at the end of the cell that runs, if IPython runs one."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None and hasattr(module, "get_ipython") else None
    if shell is None:
        return

    def end(*_: object) -> None:
        shell.events.unregister("post_run_cell", end)
        over()

    shell.events.register("post_run_cell", end)


class KeepsNoModel:
    """A base of callbacks before Keras's: the attribute model does not keep the model alive.

    Users keep callbacks after a fit, for `versions` and `best`. The model and its memory on a GPU
    are free as soon as the users drop it.
    """

    @property
    def _model(self) -> Any:
        """The model, as Keras's callbacks have it; None if it is gone."""
        reference = vars(self).get("_weak_model")
        return None if reference is None else reference()

    @_model.setter
    def _model(self, model: Any) -> None:
        vars(self)["_weak_model"] = None if model is None else weakref.ref(model)

"""What kept reads from the frames of its callers: local variables of Keras's fit.

Keras passes callbacks neither the list of all callbacks nor the data. Its fit keeps both in local
variables. Their names are private: CHECKED has the versions of Keras that have them, and a test
compares it with the installed version. With any other version the functions look for the same
names; if these are missing, they report that they found nothing.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

# Package -> oldest and newest minor version that the names below were checked with.
CHECKED = {"keras": ((3, 10), (3, 15)), "tf_keras": ((2, 21), (2, 21))}
_EPOCHS = "epoch_iterator"  # in fit of Keras 3
_IN_FIT = {_EPOCHS, "data_handler"}  # in fit of Keras 3, of tf_keras


def is_in_fit(frame: FrameType | None) -> bool:
    """Return whether the frame is inside a fit of Keras.

    The frames are the only evidence, because Keras calls no hook when an exception ends a fit.
    """
    return any(
        one.f_code.co_name == "fit" and _IN_FIT & one.f_locals.keys() for one in _frames(frame)
    )


def find_fit() -> tuple[tuple[Any, ...], Any]:
    """Return the callbacks of the fit that calls, in order, and its iterator over batches.

    Without such a fit the callbacks are empty and the iterator is None.
    """
    keras = sys.modules.get("keras")  # a fit of tf_keras may run without it
    found = None
    for frame in _frames(inspect.currentframe()):
        if found is None:
            holder = _local(frame, "self") if keras and _is_of_keras(frame) else None
            found = holder if keras and isinstance(holder, keras.callbacks.CallbackList) else None
        elif hasattr(epochs := _local(frame, _EPOCHS), "data_adapter"):
            return _callbacks_of(found), epochs
    return _callbacks_of(found), None


def _is_of_keras(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "keras"


def _local(frame: FrameType, name: str) -> Any:
    """Return a local variable of a frame, None if it has none of this name.

    Reading f_locals makes a dict that lives as long as the frame. So it is not read of frames that
    cannot have the variable: the user's function would hold a model that it has deleted.
    """
    return frame.f_locals.get(name) if name in frame.f_code.co_varnames else None


def _callbacks_of(found: Any) -> tuple[Any, ...]:
    return tuple(getattr(found, "callbacks", ()))


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back

"""Copies arrays fast: large ones with several threads, and without going through the caches."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from kept.parallel import in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LARGE = 2 * 1024 * 1024  # bytes; also the size of the piece that a thread copies at a time
_AT_ONCE = 128  # pieces; if they come from an accelerator, their arrays are copies too
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# More threads do not make memory faster. One more than the cores, because JAX's threads use a core
# for some milliseconds after a step: on 2 cores, three threads took 0.93 of the time of two.
_THREADS = min(_CORES + 1, 4)

Pair = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]  # target and source, of the same shape

_copy_bytes: Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], None]
try:
    from kept.training.snapshot import _streaming
except ImportError:  # built without a C compiler
    _copy_bytes = np.copyto
else:
    _copy_bytes = _streaming.copy


def copy_arrays(pairs: Iterable[Pair]) -> None:
    """Copy arrays, (target, source) of the same shape and type; return when all are copied.

    One core does not fill the memory bus, and the other cores are idle during a hook. Measured on
    2 cores with 300 MB: two threads take 0.7 of the time of one, and with non-temporal stores
    (_streaming.c) 0.4.
    """
    pieces: list[Pair] = []
    for target, source in pairs:
        is_flat = target.flags.c_contiguous and source.flags.c_contiguous
        if target.nbytes < LARGE or not is_flat:
            np.copyto(target, source)
        else:
            pieces += _pieces(target, source)
        if len(pieces) >= _AT_ONCE:
            _copy_pieces(pieces)
            pieces = []
    if pieces:
        _copy_pieces(pieces)


def _copy_pieces(pieces: list[Pair]) -> None:
    if len(pieces) == 1:  # starting threads takes longer than a copy
        _copy_bytes(*pieces[0])
        return
    in_threads(lambda piece: _copy_bytes(*piece), pieces, _THREADS)


def _pieces(target: np.ndarray[Any, Any], source: np.ndarray[Any, Any]) -> Iterator[Pair]:
    """Yield pieces of the bytes of two contiguous arrays."""
    flat, other = target.reshape(-1).view(np.uint8), source.reshape(-1).view(np.uint8)
    for start in range(0, flat.size, LARGE):
        yield flat[start : start + LARGE], other[start : start + LARGE]

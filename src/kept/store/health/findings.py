"""Judges the health of a version by the figures of its tensors, and by those of the version before.

A version is unhealthy with a NaN or an infinity in weights or optimizer, if the norm of a layer's
weights has changed a thousandfold, or if half of a layer's units have died. Fewer dead units are
only notes. Small norms are left out: a layer that begins at zero grows by any factor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kept.store.health.state import (
    FINDINGS,
    MOST_FINDINGS,
    NORM,
    NOTES,
    OK,
    STATE,
    UNHEALTHY,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kept.store.encoding import Json
    from kept.store.health.measure import Figures

    Array = np.ndarray[Any, Any]

_FACTOR = 1000.0  # of a norm, from one version to the next
_FEW = 16  # values; a layer with fewer may have any norm
# Root mean squares of a layer's weights. From less than the first one, no growth is an explosion;
# from less than the second one, no shrinking matters.
_SMALL, _TINY = 1e-3, 1e-4
_HALF = 0.5  # of the units of a layer


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers of a model, with the number of trainable values in each, and its kernels."""

    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    kernels: Mapping[str, int] = field(default_factory=dict)  # name -> its units


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is known of the tensors of one version."""

    layers: Layers
    norms: Array  # of the trainable weights of each layer
    dead: Mapping[str, frozenset[int]]  # by kernel; one without dead units is left out
    norm: float  # of all weights
    wrong: Sequence[tuple[str, int, Figures]] = ()  # name and size of tensors with NaN or infinity


def judge(now: Statistics, before: Statistics | None) -> dict[str, Json]:
    """Return the metadata that state the health of a version.

    Without a version before, or with one of other layers, only NaN and infinities count.
    """
    bad = [text for one in now.wrong for text in _not_finite(*one)]
    notes: list[str] = []
    if before is not None and before.layers == now.layers:
        bad += _norms(now, before)
        for name, count, units in _newly_dead(now, before):
            text = f"{name}: {count:,} of {units:,} units are newly dead, all their weights are 0"
            (bad if count >= _HALF * units else notes).append(text)
    state = UNHEALTHY if bad else NOTES if notes else OK
    found = {FINDINGS: _few([*bad, *notes])} if state != OK else {}
    return {STATE: state, **found, NORM: float(f"{now.norm:.7g}")}


def _not_finite(name: str, size: int, figures: Figures) -> Iterator[str]:
    for count, what in ((figures.nans, "NaN"), (figures.infinities, "infinite")):
        if count == size == 1:
            yield f"{name}: the value is {what}"
        elif count:
            yield f"{name}: {_share(count, size)} values are {what}"


def _share(count: int, size: int) -> str:
    return f"all {size:,}" if count == size else f"{count:,} of {size:,}"


def _norms(now: Statistics, before: Statistics) -> Iterator[str]:
    """Yield the layers whose norm has changed a thousandfold."""
    counts = np.array(now.layers.counts, np.float64)
    roots = np.sqrt(counts)
    old, new = before.norms, now.norms
    with np.errstate(all="ignore"):
        is_compared = (counts >= _FEW) & np.isfinite(old) & np.isfinite(new)
        grows = is_compared & (new >= _FACTOR * np.maximum(old, _SMALL * roots))
        shrinks = is_compared & (old >= _TINY * roots) & (new * _FACTOR <= old)
    for n in np.flatnonzero(grows | shrinks):
        layer = now.layers.names[n]
        if new[n] == 0:
            yield f"{layer}: all its weights are 0, and were not in the version before"
        elif old[n] == 0:
            yield f"{layer}: the norm of its weights is {new[n]:.3g}, and was 0 in the one before"
        else:
            ratio = f"{new[n] / old[n]:,.0f}" if grows[n] else f"1/{old[n] / new[n]:,.0f}"
            yield f"{layer}: the norm of its weights is {ratio} times that of the version before"


def _newly_dead(now: Statistics, before: Statistics) -> Iterator[tuple[str, int, int]]:
    for name, dead in now.dead.items():
        count = len(dead - before.dead.get(name, frozenset()))
        if count:
            yield name, count, now.layers.kernels[name]


def _few(texts: list[str]) -> list[Json]:
    if len(texts) <= MOST_FINDINGS:
        return list(texts)
    shown = MOST_FINDINGS - 1
    return [*texts[:shown], f"and {len(texts) - shown:,} more findings"]

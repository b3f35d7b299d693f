"""Judges the health of a version by the figures of its tensors, and by those of the version before.

A version is unhealthy with a NaN or an infinity in weights or optimizer, if the norm of a layer's
weights has changed a thousandfold, or if half of a layer's units have died. Fewer dead units are
only notes. Small norms are left out: a layer that begins at zero grows by any factor. Infinities of
weights that no training changes may be there from the start, as in a mask.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

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


class Wrong(NamedTuple):
    """A tensor with NaN or infinities."""

    name: str
    size: int
    figures: Figures
    is_fixed: bool = False  # whether it is a weight that the optimizer does not change


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is known of the tensors of one version."""

    layers: Layers
    norms: Array  # of the trainable weights of each layer
    dead: Mapping[str, frozenset[int]]  # by kernel; one without dead units is left out
    norm: float  # of all weights
    wrong: Sequence[Wrong] = ()


def judge(
    now: Statistics, before: Statistics | None, healthy: Statistics | None = None
) -> dict[str, Json]:
    """Return the metadata that state the health of a version.

    healthy is the newest version that is not unhealthy. A layer that returns to its norm there is
    sound, whatever it was in the version before. Without a version before, or with one of other
    layers, only NaN and infinities count.
    """
    bad, notes = _not_finite(now, healthy)
    if before is not None and before.layers == now.layers:
        bad += _norms(now, before, healthy)
        for name, count, units in _newly_dead(now, before):
            text = f"{name}: {count:,} of {units:,} units are newly dead, all their weights are 0"
            (bad if count >= _HALF * units else notes).append(text)
    state = UNHEALTHY if bad else NOTES if notes else OK
    found = {FINDINGS: _few([*bad, *notes])} if state != OK else {}
    return {STATE: state, **found, NORM: float(f"{now.norm:.7g}")}


def _not_finite(now: Statistics, healthy: Statistics | None) -> tuple[list[str], list[str]]:
    """Return the findings that make a version unhealthy, and those that are notes."""
    bad, notes = [], []
    known = None if healthy is None else {one.name: one.figures.infinities for one in healthy.wrong}
    for one in now.wrong:
        nans, infinities = one.figures.nans, one.figures.infinities
        if nans:
            bad.append(_count(one, nans, "NaN"))
        if infinities and one.is_fixed and known is None:
            notes.append(_count(one, infinities, "infinite"))
        elif infinities and not (one.is_fixed and known and infinities <= known.get(one.name, 0)):
            bad.append(_count(one, infinities, "infinite"))
    return bad, notes


def _count(one: Wrong, count: int, what: str) -> str:
    if count == one.size == 1:
        return f"{one.name}: the value is {what}"
    share = f"all {one.size:,}" if count == one.size else f"{count:,} of {one.size:,}"
    return f"{one.name}: {share} values are {what}"


def _jumps(now: Statistics, before: Statistics) -> tuple[Array, Array]:
    """Return which layers have a norm that has grown a thousandfold, and which one has shrunk."""
    counts = np.array(now.layers.counts, np.float64)
    roots = np.sqrt(counts)
    old, new = before.norms, now.norms
    with np.errstate(all="ignore"):
        is_compared = (counts >= _FEW) & np.isfinite(old) & np.isfinite(new)
        grows = is_compared & (new >= _FACTOR * np.maximum(old, _SMALL * roots))
        shrinks = is_compared & (old >= _TINY * roots) & (new * _FACTOR <= old)
    return grows, shrinks


def _norms(now: Statistics, before: Statistics, healthy: Statistics | None) -> Iterator[str]:
    """Yield the layers whose norm has changed a thousandfold."""
    grows, shrinks = _jumps(now, before)
    found = grows | shrinks
    if healthy is not None and healthy is not before and healthy.layers == now.layers:
        found &= np.logical_or(*_jumps(now, healthy))
    old, new = before.norms, now.norms
    for n in np.flatnonzero(found):
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

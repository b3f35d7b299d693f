"""Models of many small layers: a save must cost in proportion to them, not to their square."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.contenders import Kept
from benchmarks.idle import LOGS, begun
from benchmarks.measure import Times, WarmCopy, in_turns, medians, sync, timed, workspace
from benchmarks.models import deep, scramble, values
from benchmarks.rows import Outcome

if TYPE_CHECKING:
    import keras

PARTS = ("stall", "save to durable")
KINDS = ("first save of a fit", "changed learning rate")
PROPORTION = 1.5  # times the layers' own ratio; a quadratic cost would be 4 times


def measure(*, quick: bool) -> Outcome:
    """Compare models of n, 2n and 4n layers."""
    small = 50 if quick else 250
    outcome = Outcome()
    found: dict[int, dict[str, float]] = {}
    for count in (small, 2 * small, 4 * small):
        times = _times(deep(count), repeats=2 if quick else 5)
        found[count] = medians(times)
        outcome.raw[f"{count} layers"] = times
        outcome.seconds |= {f"{count} layers, {k}": v for k, v in found[count].items()}
    for count, seconds in found.items():
        durable, peer = seconds["kept: save to durable"], seconds["Keras: save and fsync"]
        limit = 1.0 if count == 4 * small and not quick else None
        outcome.add(f"{count} layers: save to durable / Keras save + fsync", durable, peer, limit)
        for kind in KINDS:
            for what in PARTS:
                ours = seconds[f"kept: {what}, {kind}"]
                outcome.add(f"{count} layers, {kind}: {what} / Keras save + fsync", ours, peer)
        outcome.add(f"{count} layers: stall of Keras / kept's", peer, seconds["kept: stall"])
    most, least = found[4 * small], found[small]
    for what in ("kept: save to durable", "kept: stall", "Keras: save and fsync"):
        limit = 4 * PROPORTION if what.startswith("kept") else None
        outcome.add(f"{what}, 4 x the layers / 1 x", most[what], least[what], limit)
    return outcome


def _times(model: keras.Model, repeats: int) -> Times:
    stalls: list[float] = []
    others: Times = {f"kept: {what}, {kind}": [] for kind in KINDS for what in PARTS}
    with workspace() as folder:
        callback = begun(Kept().callback(folder, "epoch"), model)
        saved = os.path.join(folder, "keras.keras")

        def save_with_kept() -> float:
            stalls.append(timed(lambda: callback.on_epoch_end(0, LOGS)))
            return stalls[-1] + timed(callback.wait)

        def save_as(kind: str) -> float:
            if kind == KINDS[0]:
                callback.on_train_end()
                begun(callback, model)
            else:
                model.optimizer.learning_rate = np.random.default_rng().random()
            seconds = save_with_kept()
            others[f"kept: {PARTS[0]}, {kind}"].append(stalls.pop())
            return seconds

        def before() -> None:
            scramble(model)
            os.sync()

        works = {
            "kept: save to durable": save_with_kept,
            "Keras: save and fsync": lambda: timed(
                lambda: (model.save(saved), sync(saved), sync(folder))
            ),
            "warm copy": lambda: timed(copy),
        } | {f"kept: {PARTS[1]}, {kind}": functools.partial(save_as, kind) for kind in KINDS}
        copy = WarmCopy(values(model))
        times = in_turns(works, repeats, before)
        callback.close()
    measured = {name: taken[1:] for name, taken in others.items() if taken}
    return measured | times | {"kept: stall": stalls[1:]}

"""Models of many small layers: a save must cost in proportion to them, not to their square."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from benchmarks.contenders import Kept
from benchmarks.idle import LOGS, begun
from benchmarks.measure import Times, WarmCopy, in_turns, medians, sync, timed, workspace
from benchmarks.models import deep, scramble, values
from benchmarks.rows import Outcome

if TYPE_CHECKING:
    import keras

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
        outcome.add(f"{count} layers: save to durable / Keras save + fsync", durable, peer)
        outcome.add(f"{count} layers: stall of Keras / kept's", peer, seconds["kept: stall"])
    most, least = found[4 * small], found[small]
    for what in ("kept: save to durable", "kept: stall", "Keras: save and fsync"):
        limit = 4 * PROPORTION if what.startswith("kept") else None
        outcome.add(f"{what}, 4 x the layers / 1 x", most[what], least[what], limit)
    return outcome


def _times(model: keras.Model, repeats: int) -> Times:
    stalls: list[float] = []
    with workspace() as folder:
        callback = begun(Kept().callback(folder, "epoch"), model)
        saved = os.path.join(folder, "keras.keras")

        def save_with_kept() -> float:
            stalls.append(timed(lambda: callback.on_epoch_end(0, LOGS)))
            return stalls[-1] + timed(callback.wait)

        def before() -> None:
            scramble(model)
            os.sync()

        works = {
            "kept: save to durable": save_with_kept,
            "Keras: save and fsync": lambda: timed(
                lambda: (model.save(saved), sync(saved), sync(folder))
            ),
            "warm copy": lambda: timed(copy),
        }
        copy = WarmCopy(values(model))
        times = in_turns(works, repeats, before)
        callback.close()
    return times | {"kept: stall": stalls[1:]}

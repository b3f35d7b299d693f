"""Health beside a save: what it takes of the writer's processor time, and of the stall."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import kept
from benchmarks.idle import LOGS, begun
from benchmarks.measure import Times, in_turns, medians, workspace
from benchmarks.models import deep, dense, scramble, variables
from benchmarks.rows import Outcome
from kept.training.health.probe import HealthProbe

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras

MODES = ("warn", "off")


def measure(*, quick: bool) -> Outcome:
    """Compare saves with on_health="warn" and "off", in turns, of two kinds of models."""
    outcome = Outcome()
    models = {
        f"{30 if quick else 300} MB in three layers": dense(30 if quick else 300),
        f"{50 if quick else 1000} small layers": deep(50 if quick else 1000),
    }
    for what, model in models.items():
        times = _times(model, repeats=2 if quick else 11)
        found = medians(times)
        # What else the machine does only adds to processor time.
        least = {name: min(values) for name, values in times.items()}
        outcome.raw[what] = times
        outcome.seconds |= {f"{what}, {name}": value for name, value in found.items()}
        share = f"{what}: processor time of health / of the writer without it"
        outcome.add(share, least["health"], least["writer, off"], 0.1)
        both = f"{what}: processor time of the writer, with / without"
        outcome.add(both, least["writer, warn"], least["writer, off"])
        stall = f"{what}: stall, with / without"
        outcome.add(stall, found["stall, warn"], found["stall, off"])
    return outcome


def _times(model: keras.Model, repeats: int) -> Times:
    """Return seconds: of the hook, and of the processor for all other threads until the end."""
    stalls: Times = {f"stall, {mode}": [] for mode in MODES}
    own: Times = {"health": []}
    with workspace() as folder, _timed_health(own["health"]):
        callbacks = {mode: begun(_callback(folder, mode), model) for mode in MODES}

        def save(mode: str) -> float:
            callback = callbacks[mode]
            start, mine, wall = time.process_time(), time.thread_time(), time.perf_counter()
            callback.on_epoch_end(0, LOGS)
            stalls[f"stall, {mode}"].append(time.perf_counter() - wall)
            callback.wait()
            return (time.process_time() - start) - (time.thread_time() - mine)

        works = {f"writer, {mode}": (lambda mode=mode: save(mode)) for mode in MODES}
        times = in_turns(works, repeats, lambda: _changed(model))
        for callback in callbacks.values():
            callback.close()
    return times | {name: taken[1:] for name, taken in (stalls | own).items()}


def _changed(model: keras.Model) -> None:
    scramble(model)
    for variable in variables(model):  # JAX computes the new values later, and a save waits for it
        getattr(variable.value, "block_until_ready", int)()
    os.sync()


def _callback(folder: str, mode: str) -> Any:
    return kept.ModelCheckpoint(
        os.path.join(folder, f"{mode}.keras"), monitor="loss", keep_local=False, name=mode,
        store=os.path.join(folder, mode), on_health=mode,
    )  # fmt: skip


@contextmanager
def _timed_health(times: list[float]) -> Iterator[None]:
    """Note the processor time of each measurement, on its thread."""
    original = HealthProbe.measured

    def measured(*given: Any) -> Any:
        start = time.thread_time()
        try:
            return original(*given)
        finally:
            times.append(time.thread_time() - start)

    HealthProbe.measured = measured
    try:
        yield
    finally:
        HealthProbe.measured = original

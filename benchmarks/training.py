"""Saving while a model trains: what the training thread waits, and what the run takes.

Every contender makes the same fit of the same compiled model. Steps are long enough to hide the
work where an epoch takes LONG times what Keras needs for a save, and too short where it has
SHORT steps.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras

from benchmarks.contenders import Contender, Floor, Kept, KerasFile, peers
from benchmarks.measure import WarmCopy, time_hooks, timed, workspace
from benchmarks.models import Data, dense, fed, samples, values
from benchmarks.rows import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

LONG, SHORT = 3.0, 3


@dataclass(frozen=True, slots=True)
class Plan:
    """A fit with saves."""

    name: str
    steps: int  # per epoch
    epochs: int
    save_freq: str | int = "epoch"
    rounds: int = 1  # of fits with each contender; every second one in the reverse order

    @property
    def hook(self) -> str:
        """Name of the hook that saves."""
        return "on_epoch_end" if self.save_freq == "epoch" else "on_train_batch_end"


class Clock(keras.callbacks.Callback):
    """Notes the duration of each step, and whether a save was in the background all along.

    It goes first in the list of callbacks, so its step ends before their hooks begin.
    """

    def __init__(self, contender: Contender) -> None:
        super().__init__()
        self._contender = contender
        self.steps: list[tuple[float, bool, bool]] = []  # seconds, busy at the start, at the end

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._busy = self._contender.is_busy()
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        seconds = time.perf_counter() - self._start
        self.steps.append((seconds, self._busy, self._contender.is_busy()))


@dataclass(slots=True)
class Run:
    """What one fit took."""

    total: float
    bare: float  # of that, all but the stalls
    stalls: list[float]  # the first one included
    steps: list[tuple[float, bool, bool]]
    after: list[float]  # those of the steps that come right after a save, seconds
    hooks: dict[str, float]  # seconds in each hook, all calls together

    @property
    def stall(self) -> float:
        """Median per save, without the first, which warms up."""
        return statistics.median(self.stalls[1:])

    @property
    def delay(self) -> float:
        """Median of what a step right after a save takes more than the median step."""
        return statistics.median(self.after) - statistics.median(s for s, *_ in self.steps)

    @property
    def cost(self) -> float:
        """Seconds that a save keeps the training thread: in its hook, and in the step after it."""
        return self.stall + max(self.delay, 0.0)

    def rate(self, *, busy: bool) -> float:
        """Steps per second with, or without, a save in the background; NaN if there are none."""
        taken = [s for s, *was in self.steps if was == [busy, busy]]
        return len(taken) / sum(taken) if taken else float("nan")


def joined(runs: Sequence[Run]) -> Run:
    """Return several fits of one contender as one: the median total, and all saves and steps."""
    first = runs[0]
    return Run(
        statistics.median(run.total for run in runs),
        statistics.median(run.bare for run in runs),
        [first.stalls[0], *(stall for run in runs for stall in run.stalls[1:])],
        [step for run in runs for step in run.steps],
        [seconds for run in runs for seconds in run.after],
        {hook: statistics.median(run.hooks[hook] for run in runs) for hook in first.hooks},
    )


def compared(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median over the rounds of what one took to what the other one took.

    A shared machine has fast and slow minutes, which are those of a whole round.
    """
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def measure(*, quick: bool) -> Outcome:
    """Run the fits of all plans with all contenders."""
    outcome = Outcome()
    model = dense(30 if quick else 300)
    data = samples(model, 1)
    step, saved = calibrate(model, data)
    epochs = 4 if quick else 10
    long = max(4, round(LONG * saved / step))
    plans = (
        Plan("long steps", long, epochs, rounds=1 if quick else 5),
        Plan("short steps", SHORT, epochs, rounds=1 if quick else 3),
        Plan("every 8 batches", 8 * epochs, 1, 8),
    )
    copy = WarmCopy(values(model))
    for plan in plans:
        runs: dict[str, list[Run]] = {}
        for round_ in range(plan.rounds):
            contenders = [Floor(copy), Kept(), *peers()]
            for contender in reversed(contenders) if round_ % 2 else contenders:
                runs.setdefault(contender.name, []).append(run_fit(contender, model, plan))
        _report(outcome, plan, runs)
    outcome.raw["calibration"] = {"step": step, "Keras save": saved, "steps": long}
    return outcome


def calibrate(model: keras.Model, data: Data) -> tuple[float, float]:
    """Compile; return the seconds of a step and of a Keras save."""
    clock = Clock(Contender())
    with workspace() as folder:
        save = KerasFile().callback(folder, "epoch")
        hooks = time_hooks(save)
        model.fit(**fed(data, 5), epochs=4, verbose=0, callbacks=[clock, save], shuffle=False)
    steps = [seconds for seconds, *_ in clock.steps[5:]]
    return statistics.median(steps), statistics.median(hooks["on_epoch_end"][1:])


def run_fit(contender: Contender, model: keras.Model, plan: Plan) -> Run:
    clock = Clock(contender)
    data = fed(samples(model, 1), plan.steps)
    with workspace() as folder:
        callback = contender.callback(folder, plan.save_freq)
        hooks = time_hooks(callback)
        os.sync()
        fit = {"epochs": plan.epochs, "verbose": 0, "shuffle": False}
        total = timed(lambda: model.fit(**data, **fit, callbacks=[clock, callback]))
        contender.close()
    stalls = hooks[plan.hook]
    if isinstance(plan.save_freq, int):
        stalls = stalls[plan.save_freq - 1 :: plan.save_freq]
    spent = {hook: sum(times) for hook, times in hooks.items()}
    every = plan.save_freq if isinstance(plan.save_freq, int) else plan.steps
    after = [seconds for seconds, *_ in clock.steps[every::every]]
    return Run(total, total - sum(stalls), stalls, clock.steps, after, spent)


def _report(outcome: Outcome, plan: Plan, fits: dict[str, list[Run]]) -> None:
    runs = {name: joined(several) for name, several in fits.items()}
    totals = {name: [run.total for run in several] for name, several in fits.items()}
    ours, floor = runs["kept"], runs["warm copy"]
    rivals = [name for name in runs if name not in ("kept", "warm copy")]
    is_long = plan.name == "long steps"
    limit = 2.0 if keras.backend.backend() == "tensorflow" else 1.5
    outcome.add(
        f"{plan.name}: stall / warm copy", ours.stall, floor.stall, limit if is_long else None
    )
    for name in rivals:
        least = 10.0 if is_long else None
        outcome.add(f"{plan.name}: stall of {name} / kept's", runs[name].stall, ours.stall)
        what = f"{plan.name}: stall and delay of the next step, {name} / kept"
        outcome.add(what, runs[name].cost, ours.cost, least, least=True)
        what = f"{plan.name}: stall and delay of the next step, {name} / warm copy"
        outcome.add(what, runs[name].cost, floor.stall)
    if is_long:
        slowed, free = ours.rate(busy=True), ours.rate(busy=False)
        outcome.add("long steps: steps/s while saving / without", slowed, free, 0.7, least=True)
    bare = [run.bare for run in fits["warm copy"]]
    outcome.add(f"{plan.name}: run with kept / run without saving", compared(totals["kept"], bare))
    outcome.seconds[f"{plan.name}, no saving: run"] = floor.bare
    for name in rivals:
        limited = 1.0 if plan.save_freq == "epoch" else None
        ratio = compared(totals["kept"], totals[name])
        outcome.add(f"{plan.name}: run with kept / with {name}", ratio, limit=limited)
    _keep(outcome, plan, runs, totals)


def _keep(
    outcome: Outcome, plan: Plan, runs: dict[str, Run], totals: dict[str, list[float]]
) -> None:
    for name, run in runs.items():
        prefix = f"{plan.name}, {name}"
        outcome.seconds[f"{prefix}: stall per save"] = run.stall
        outcome.seconds[f"{prefix}: first save"] = run.stalls[0]
        outcome.seconds[f"{prefix}: delay of the next step"] = run.delay
        outcome.seconds[f"{prefix}: run"] = run.total
        outcome.raw[prefix] = {
            "totals": totals[name],
            "stalls": run.stalls,
            "hooks": run.hooks,
            "steps": _rounded(run.steps),
        }


def _rounded(steps: Sequence[tuple[float, bool, bool]]) -> list[list[Any]]:
    return [[round(seconds, 4), *busy] for seconds, *busy in steps]

"""What a checkpoint callback does, apart from being one: decide, name, describe, save.

The way of a checkpoint: a hook decides that one is due and whether it is the best, a snapshot is
taken, and the writer thread does the rest (saver.py). Every hook raises what has failed in the
background since the last one.

A Controller works for one callback, its owner, and uses what Keras says a ModelCheckpoint has:
model, params, monitor, mode, best, verbose, save_best_only, save_weights_only and save_freq.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidCheckpoint
from kept.training.decide.disk_forecast import DiskForecast
from kept.training.decide.preemption import Preemption, leave
from kept.training.decide.timer import SaveTimer
from kept.training.messages import print_text, show, show_once
from kept.training.monitor import as_text, checkpoint_told, find_mode, is_better, monitored
from kept.training.naming import ArtifactName
from kept.training.request import SaveRequest
from kept.training.save.failure_policy import FailurePolicy
from kept.training.save.saver import Saver
from kept.training.upkeep.compaction import BackgroundCompactor
from kept.training.upkeep.upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kept.store.version import Version
    from kept.training.destinations.base import Destination
    from kept.training.keras_api.adapter import KerasAdapter
    from kept.training.options import Options
    from kept.training.resume.state import State
    from kept.training.save.path_template import PathTemplate

    Logs = Mapping[str, Any]


class Controller:
    """Saves the checkpoints of its owner; the owner hands it the hooks of the fit."""

    def __init__(
        self,
        owner: Any,
        edition: KerasAdapter,
        path: PathTemplate,
        options: Options,
        destination: Callable[[Options, Callable[[Version], None]], Destination],
    ) -> None:
        """Raises InvalidCheckpoint, NotAStore or NewerFormat."""
        self._owner = owner
        self.edition = edition
        self._path = path
        self._options = options
        self.name = ArtifactName(options.name)
        self.versions: list[Version] = []
        self._tidying = Upkeep(path, options)
        self.destination = destination(options, self._committed)
        why = path.cannot_snapshot
        self.recoder = BackgroundCompactor(options.compression, self.destination.store)
        self.saver = Saver(
            self.destination,
            self.recoder,
            edition.framework,
            write_live=path.write,
            weights_only=owner.save_weights_only,
            background=options.background and why is None,
            wait=options.on_busy == "wait",
            keep_local=options.leaves_files,
            tidying=self._tidying,
        )
        self._failures = FailurePolicy(self.saver.writer, options.on_error)
        self._is_named = options.name is not None or self.destination.is_named
        self._why_on_the_spot = why if options.background else None
        self._resume = path.check_resume(options.resume)
        self._resumer = edition.resuming(owner, options, show, named=self._is_named)
        self._interval = SaveTimer(options.save_every)
        self._preemption = Preemption(options.grace_seconds)
        self._mode: str | None = None  # "min" or "max" once the first batch has shown the metrics
        self._epoch = 0
        self._last_batch = -1
        self._since_save = 0  # batches
        self._epochs_since_save = 0
        self._last_saved: tuple[int, int | None] | None = None  # epoch, batch

    def train_begin(self) -> None:
        """Settle the artifact's name, and find out now whether the store can be written."""
        self._failures.begin()
        if self._why_on_the_spot is not None:
            show_once(f"files are written on the training thread: {self._why_on_the_spot}")
        # Keras hands the same params dict to every callback of one fit.
        default = self.destination.default_name()
        name = self.name.begin(self._owner.params, self.destination.places, default, show)
        self.destination.begin(name)
        self._mode, self._last_batch, self._last_saved = None, -1, None
        if self._resume and self.destination.store is not None:
            reference = self._resume if isinstance(self._resume, str) else name
            self._resumer.prepare(self.destination.store, reference)
            self._resume = False  # a second fit goes on from where the first has ended
        self._resumer.begin()
        self._interval.begin()
        self.recoder.begin()
        self._preemption.listen()
        self._preflight = DiskForecast(self._owner, self._path.template, self._options)

    def epoch_begin(self, epoch: int) -> None:
        """Note the epoch, for saves after batches."""
        self._tell()
        self._epoch, self._last_batch = epoch, -1
        self._preflight.check(self.destination, epoch)
        self._resumer.epoch_begin(epoch)

    def batch_end(self, batch: int, logs: Logs) -> None:
        """Save if enough batches have passed since the last save."""
        self._tell()
        if self._resumer.passes(batch):
            self._last_batch = batch
            if self._preemption.is_due:  # nothing new since the version it goes on from
                leave()
            return
        if self._mode is None:
            self._first_batch_done()
        # With steps_per_execution=n this hook is called for every n-th batch only.
        self._since_save += batch - self._last_batch
        self._last_batch = batch
        save_freq = self._owner.save_freq
        if save_freq != "epoch" and self._since_save >= save_freq:
            self._since_save = 0
            self._save_if_wanted(self._epoch, batch, logs)
        if self._preemption.is_due:
            self._save_and_leave(batch, logs)
        elif self._interval.is_over():
            self._save_aside(batch, logs)

    def epoch_end(self, epoch: int, logs: Logs) -> None:
        """Save with save_freq="epoch"."""
        self._tell()
        self._resumer.epoch_end()
        self._preflight.epoch_over(self.destination)
        if self._mode is None:
            self._first_batch_done()
        self._epochs_since_save += 1
        period = getattr(self._owner, "period", 1)  # of tf_keras
        if self._owner.save_freq == "epoch" and self._epochs_since_save >= period:
            self._epochs_since_save = 0
            self._save_if_wanted(epoch, None, logs)
        if self._preemption.is_due:
            self._save_and_leave(None, logs)

    def train_end(self) -> None:
        """Wait until every checkpoint is durable, and a while for mirrors that answer."""
        self.name.end()
        self._resumer.end()
        self._failures.of(self.saver.finish)
        self._tell()
        self._preemption.stop()  # all is durable: SIGTERM need not wait for what follows
        self.destination.finish()
        if told := self.recoder.finish():
            self._tell(told)
        if self.versions:
            self._tidying.end(self.versions[-1])

    def close(self) -> None:
        """Wait until every checkpoint is durable, and let go of the memory of the snapshots."""
        self.name.end()
        try:
            self.saver.close()
        finally:
            self.recoder.close()

    def get_state(self) -> dict[str, Any]:
        """Return what a resumed run needs to know."""
        return {"best": self._owner.best, "since_save": self._since_save}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put back what get_state returned."""
        self._owner.best, self._since_save = state["best"], state["since_save"]

    def _committed(self, version: Version) -> None:
        self.versions.append(version)
        self.recoder.committed(version)
        self._tidying.committed(version)

    def _first_batch_done(self) -> None:
        """Do what needs the metrics and the optimizer's variables to be there."""
        self._mode = find_mode(self._owner, self.edition)
        if self._is_named:
            self._go_on(self._mode)
        self._preflight.check(self.destination, self._epoch)
        self.saver.prepare(self._owner.model)

    def _go_on(self, mode: str) -> None:
        name, monitor = str(self.name.value), self._owner.monitor
        best = self.destination.best(name, monitor, mode)
        if best is not None and is_better(best, self._owner.best, mode):
            self._owner.best = best
            self._tell(f"Going on with {name}: best {monitor} so far is {as_text(best)}")

    def _save_if_wanted(self, epoch: int, batch: int | None, logs: Logs) -> None:
        started = time.perf_counter()
        owner, label = self._owner, f"Epoch {epoch + 1}"
        path = self._path.fill(epoch, batch, logs)
        value, before = monitored(owner, logs), owner.best
        is_best = value is not None and is_better(value, before, str(self._mode))
        if is_best:
            change = f"{owner.monitor} improved from {as_text(before)} to {as_text(value)}"
            self._tell(f"{label}: {change}, saving model to {path}")
            owner.best = value
        elif owner.save_best_only and value is not None:
            self._tell(f"{label}: {owner.monitor} did not improve from {as_text(before)}")
            return
        else:
            self._tell(f"{label}: saving model to {path}")
        undo = functools.partial(self._go_back, owner.best, before)
        self._save(epoch, batch, logs, path, started, value=value, is_best=is_best, undo=undo)

    def _save_aside(self, batch: int | None, logs: Logs) -> None:
        """Save for resuming: not by the metric, and not in place of the best file."""
        started = time.perf_counter()
        try:
            path = self._path.fill(self._epoch, batch, logs)
        except InvalidCheckpoint:  # it asks for what is known at the end of an epoch only
            path = None
        publish = path is not None and not self._owner.save_best_only
        path = path or self._path.plain()
        self._save(self._epoch, batch, logs, path, started, publish=publish)

    def _save_and_leave(self, batch: int | None, logs: Logs) -> None:
        self.saver.is_done(self._preemption.seconds_left)  # on_busy="skip" must not skip this one
        if self._last_saved != (self._epoch, batch) or self.saver.has_failed:
            self._save_aside(batch, logs)
        if not self.saver.is_done(self._preemption.seconds_left):
            show("the grace is over before the last checkpoint is durable")
        elif not self.saver.has_failed and self.saver.known_as:
            show(f"saved as {self.saver.known_as}, leaving")
        self._tell()
        leave()

    def _save(  # noqa: PLR0913 - what a checkpoint is made of
        self,
        epoch: int,
        batch: int | None,
        logs: Logs,
        path: str,
        started: float,
        *,
        value: float | None = None,
        is_best: bool = False,
        publish: bool = True,
        undo: Callable[[], None] = lambda: None,
    ) -> None:
        alias = f"epoch_{epoch}" if batch is None else f"epoch_{epoch}_batch_{batch}"
        aliases = (alias, "best") if is_best else (alias,)
        self._interval.begin()
        skipped = self.saver.skipped
        due = SaveRequest(
            model=self._owner.model,  # on JAX this also puts the step's results into it
            name=str(self.name.value),
            path=path,
            aliases=tuple(dict.fromkeys((*aliases, *self._options.aliases))),
            metadata=self._metadata(epoch, batch, value, logs),
            label=f"Epoch {epoch + 1}",
            started=started,
            undo=undo,
            state=self._state(epoch, batch, logs),
            publish=publish,
        )
        self._failures.of(lambda: self.saver.save(due))
        if self.saver.skipped == skipped:
            self._last_saved = (epoch, batch)

    def _state(self, epoch: int, batch: int | None, logs: Logs) -> State | None:
        """Return the run's state; W&B alone gets none, since nothing is resumed from there."""
        if self.destination.store is None or not self._path.format.is_file:
            return None
        return self._resumer.capture(epoch, batch, logs)

    def _go_back(self, best: float | None, before: float | None) -> None:
        """Forget a best value that was not saved after all."""
        if self._owner.best == best:
            self._owner.best = before

    def _metadata(
        self, epoch: int, batch: int | None, value: float | None, logs: Logs
    ) -> dict[str, Any]:
        step, parent = self.edition.step(self._owner.model), self._resumer.parent
        monitor = self._owner.monitor
        told = checkpoint_told(epoch, batch, step, (monitor, self._mode, value), logs)
        origin = {"parent": parent} if parent else {}
        return {**(self._options.metadata or {}), **told, **self._path.told, **origin}

    def _tell(self, text: str | None = None) -> None:
        """Raise what has failed in the background; show its messages, then text."""
        self._failures.tell()
        while self.saver.messages:
            self._show(self.saver.messages.popleft())
        if text is not None:
            self._show(text)

    def _show(self, text: str) -> None:
        if self._owner.verbose > 0:
            print_text(f"\n{text}")

"""The checkpoint callback for Keras 3, on TensorFlow, JAX and torch.

The way of a checkpoint: a hook decides that one is due and whether it is the best, a snapshot is
taken, and the writer thread does the rest (saver.py). Every hook raises what has failed in the
background since the last one.
"""

from __future__ import annotations

import functools
import time
import warnings
import weakref
from typing import TYPE_CHECKING, Any

import keras

from kept.errors import InvalidCheckpoint
from kept.mirrors.background import Mirrors
from kept.names import check_name
from kept.store.store import Store, open_store
from kept.training.filepath import FilePath
from kept.training.interval import Interval
from kept.training.messages import print_text, show
from kept.training.monitor import best_in_store, find_mode, is_better, scalar
from kept.training.preemption import Preemption, leave
from kept.training.resumer import Resumer, check_resume
from kept.training.run import default_artifact_name, is_named
from kept.training.saver import Due, Saver

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import timedelta

    from kept.mirrors.background import Where
    from kept.store.version import Version

    Logs = Mapping[str, Any]

_training: weakref.WeakSet[ModelCheckpoint] = weakref.WeakSet()  # between begin and end of a fit
_announced: set[tuple[str, str]] = set()  # (location, artifact) that the user was told of


class ModelCheckpoint(keras.callbacks.ModelCheckpoint):  # type: ignore[misc]  # Keras is untyped
    """Keras's ModelCheckpoint that keeps every checkpoint and does not stall training.

    Each checkpoint is committed as a version of an artifact, with the aliases epoch_<n> or
    epoch_<n>_batch_<b> (counted from 0, as W&B counts) and best (by the monitored metric, NaN
    never), and with the metadata epoch, batch, step, monitor, mode, value, metrics, format,
    framework, keras_version, stall_seconds, write_seconds, bytes_new and snapshot_bytes. The file
    at filepath appears whole or not at all.

    The training thread only copies the state into memory that is kept for it: two snapshots, so
    up to twice the bytes of weights and optimizer state. fit returns when every checkpoint is
    durable. An error in the background is raised by the next hook, by wait or by close.

    Args:
        filepath: Where to save, with options such as {epoch:02d} and {val_loss:.2f}; epoch and
            batch count from 1 there, as Keras counts. Ends in .keras or .h5, or in .weights.h5
            with save_weights_only=True.
        monitor: Name of the metric that says which checkpoint is the best.
        verbose: 0 is silent, 1 tells of every checkpoint.
        save_best_only: Save only what is better by the metric than everything before.
        save_weights_only: Save the weights with the optimizer's state, not the whole model.
        mode: "min", "max" or "auto" (found out from the metric, by the end of the first batch).
        save_freq: "epoch", or a number of batches.
        initial_value_threshold: What the metric has to beat to be the first best.
        store: A Store, or its location as open_store takes it.
        name: The artifact's name; without it run_<run id>_model, where the id is $WANDB_RUN_ID or
            made up once for the process. An artifact that is there already is continued, and its
            best value carries over (a made-up id has nothing to continue).
        background: False saves everything on the training thread.
        mirror: Where each version is copied to after its commit: a Store, a location, or a list of
            these. Training never waits for a mirror, and one that fails is told of once and tried
            again; what it lacks in the end, the next run or `kept sync` copies.
        resume: True goes on from the newest version of the artifact, if there is one; a reference
            goes on from that version, which may be of another artifact. docs/resume.md says what
            is restored.
        save_every: Save by the clock too, at the end of a batch: "30s", "10min", "2h", seconds or
            a timedelta. Such a version is for resuming: it is never best.
        grace_seconds: How long after SIGTERM the process may live. The run is then saved at the
            end of the batch, as for save_every, and the process ends with the code 143. None
            leaves SIGTERM alone; so does a handler that somebody else has set.
        state_of: The callbacks whose state is kept for resuming; without it all callbacks of the
            fit that have one.
        on_busy: What to do while both snapshots are being written: "wait", or "skip" the
            checkpoint (the attribute skipped counts them).

    Raises:
        InvalidCheckpoint: An argument cannot work; the message says which and why.
        NotAStore, NewerFormat: The location cannot be used as a store.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - Keras's signature
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,  # noqa: FBT001, FBT002
        save_weights_only: bool = False,  # noqa: FBT001, FBT002
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
        *,
        store: Store | str | os.PathLike[str] | None = None,
        name: str | None = None,
        mirror: Where | Iterable[Where] | None = None,
        background: bool = True,
        on_busy: str = "wait",
        resume: bool | str = False,
        state_of: Sequence[Any] | None = None,
        save_every: str | float | timedelta | None = None,
        grace_seconds: float | None = 30.0,
    ) -> None:
        _check_save_freq(save_freq)
        if on_busy not in ("wait", "skip"):
            raise InvalidCheckpoint(f"on_busy is 'wait' or 'skip'. Received: on_busy={on_busy!r}")
        has_batch = save_freq != "epoch"
        self._path = FilePath(filepath, weights_only=save_weights_only, has_batch=has_batch)
        super().__init__(
            filepath=self._path.template,
            monitor=monitor,
            verbose=verbose,
            save_best_only=save_best_only,
            save_weights_only=save_weights_only,
            mode=mode,
            save_freq=save_freq,
            initial_value_threshold=initial_value_threshold,
        )
        self.best: float | None = initial_value_threshold
        self.name = check_name(name) if name is not None else None
        self._given_name = self.name
        opened = store if isinstance(store, Store) else open_store(store)
        self._mirrors = Mirrors(opened, mirror, print_text)
        self._saver = Saver(
            opened,
            keras.backend.backend(),
            weights_only=save_weights_only,
            background=background,
            wait=on_busy == "wait",
            committed=self._mirrors.wake,
        )
        self._resume = check_resume(resume, named=name is not None or is_named())
        self._resumer = Resumer(self, state_of, show)
        self._interval = Interval(save_every)
        self._preemption = Preemption(grace_seconds)
        self._mode: str | None = None  # "min" or "max" once the first batch has shown the metrics
        self._epoch = 0
        self._last_batch = -1
        self._since_save = 0  # batches
        self._last_saved: tuple[int, int | None] | None = None  # epoch, batch

    @property
    def store(self) -> Store:
        """The store that the versions go to."""
        return self._saver.store

    @property
    def versions(self) -> list[Version]:
        """The versions committed by this callback, oldest first."""
        return list(self._saver.versions)

    @property
    def skipped(self) -> int:
        """How many checkpoints on_busy="skip" has skipped."""
        return self._saver.skipped

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every checkpoint so far is durable, at most timeout seconds.

        Returns whether they are; raises SaveFailed if one could not be saved.
        """
        return self._saver.wait(timeout)

    def close(self) -> None:
        """Wait as wait does, and let go of the memory of the snapshots."""
        _training.discard(self)
        self._saver.close()

    def on_train_begin(self, logs: Logs | None = None) -> None:  # noqa: ARG002 - Keras's signature
        """Settle the artifact's name, and find out now whether the store can be written."""
        self._tell()
        self._settle_name()
        self.store.create()
        self._mirrors.begin(str(self.name))
        _training.add(self)
        self._mode, self._last_batch = None, -1
        if self._resume:
            reference = self._resume if isinstance(self._resume, str) else str(self.name)
            self._resumer.prepare(self.store, reference)
            self._resume = False  # a second fit goes on from where the first has ended
        self._resumer.begin()
        self._interval.begin()
        self._preemption.listen()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the epoch, for saves after batches."""
        super().on_epoch_begin(epoch, logs)
        self._tell()
        self._epoch, self._last_batch = epoch, -1
        self._resumer.epoch_begin(epoch)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
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
        if self.save_freq != "epoch" and self._since_save >= self.save_freq:
            self._since_save = 0
            self._save_if_wanted(self._epoch, batch, logs or {})
        if self._preemption.is_due:
            self._save_and_leave(batch, logs or {})
        elif self._interval.is_over():
            self._save_aside(batch, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save with save_freq="epoch"."""
        self._tell()
        if self._mode is None:
            self._first_batch_done()
        if self.save_freq == "epoch":
            self._save_if_wanted(epoch, None, logs or {})
        if self._preemption.is_due:
            self._save_and_leave(None, logs or {})

    def on_train_end(self, logs: Logs | None = None) -> None:  # noqa: ARG002 - Keras's signature
        """Wait until every checkpoint is durable, and a while for mirrors that answer."""
        _training.discard(self)
        self._resumer.end()
        self._saver.finish()
        self._tell()
        self._mirrors.finish()
        self._preemption.stop()

    def get_state(self) -> dict[str, Any]:
        """Return what a resumed run needs to know of this callback."""
        return {"best": self.best, "since_save": self._since_save}

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what get_state returned."""
        self.best, self._since_save = state["best"], state["since_save"]

    def _settle_name(self) -> None:
        # Keras hands the same params dict to every callback of one fit.
        fellows = {c for c in _training if c is not self and c.params is self.params}
        taken = {c.name for c in fellows if c.store.location == self.store.location}
        if self._given_name is None:
            base = default_artifact_name()
            names = [base, *(f"{base}_{n}" for n in range(2, len(taken) + 2))]
            self.name = next(name for name in names if name not in taken)
            if (self.store.location, self.name) not in _announced:
                _announced.add((self.store.location, self.name))
                show(f"versions go to {self.name} in {self.store.location}")
        elif self._given_name in taken:
            raise InvalidCheckpoint(
                "Two checkpoint callbacks of one fit log to the same artifact; give each a name "
                f"of its own. Received: name={self._given_name!r}"
            )

    def _first_batch_done(self) -> None:
        """Do what needs the metrics and the optimizer's variables to be there."""
        self._mode = find_mode(self)
        if self._given_name is not None or is_named():
            self._go_on(self._mode)
        self._saver.prepare(self.model)

    def _go_on(self, mode: str) -> None:
        best = best_in_store(self.store, str(self.name), self.monitor, mode)
        if best is not None and is_better(best, self.best, mode):
            self.best = best
            self._tell(f"Going on with {self.name}: best {self.monitor} so far is {_text(best)}")

    def _save_if_wanted(self, epoch: int, batch: int | None, logs: Logs) -> None:
        started = time.perf_counter()
        path = self._path.fill(epoch, batch, logs)
        value = self._monitored(logs)
        is_best = value is not None and is_better(value, self.best, str(self._mode))
        label, best_before = f"Epoch {epoch + 1}", self.best
        if is_best:
            change = f"{self.monitor} improved from {_text(self.best)} to {_text(value)}"
            self._tell(f"{label}: {change}, saving model to {path}")
            self.best = value
        elif self.save_best_only and value is not None:
            self._tell(f"{label}: {self.monitor} did not improve from {_text(self.best)}")
            return
        else:
            self._tell(f"{label}: saving model to {path}")
        undo = functools.partial(self._go_back, self.best, best_before)
        self._save(epoch, batch, logs, path, started, value=value, is_best=is_best, undo=undo)

    def _save_aside(self, batch: int | None, logs: Logs) -> None:
        """Save for resuming: not by the metric, and not in place of the best file."""
        started = time.perf_counter()
        try:
            path = self._path.fill(self._epoch, batch, logs)
        except InvalidCheckpoint:  # it asks for what is known at the end of an epoch only
            path = None
        publish = path is not None and not self.save_best_only
        path = path or self._path.plain()
        self._save(self._epoch, batch, logs, path, started, publish=publish)

    def _save_and_leave(self, batch: int | None, logs: Logs) -> None:
        if self._last_saved != (self._epoch, batch):
            self._save_aside(batch, logs)
        if not self.wait(self._preemption.seconds_left):
            show("the grace is over before the last checkpoint is durable")
        elif self.versions:
            show(f"saved as {self.versions[-1].reference}, leaving")
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
        self._interval.begin()
        self._last_saved = (epoch, batch)
        self._saver.save(
            Due(
                model=self.model,  # on JAX this also brings the step's results into the variables
                name=str(self.name),
                path=path,
                aliases=(alias, "best") if is_best else (alias,),
                metadata=self._metadata(epoch, batch, value, logs),
                label=f"Epoch {epoch + 1}",
                started=started,
                undo=undo,
                state=self._resumer.capture(epoch, batch, logs),
                publish=publish,
            )
        )

    def _go_back(self, best: float | None, before: float | None) -> None:
        """Forget a best value that was not saved after all."""
        if self.best == best:
            self.best = before

    def _monitored(self, logs: Logs) -> float | None:
        value = scalar(logs.get(self.monitor))
        if value is None and self.save_best_only:
            why = "is not a single number" if self.monitor in logs else "is not available"
            warnings.warn(
                f"Can save best model only with {self.monitor}, which {why}; saving anyway. "
                f"Available: {', '.join(sorted(logs))}",
                stacklevel=2,
            )
        return value

    def _metadata(
        self, epoch: int, batch: int | None, value: float | None, logs: Logs
    ) -> dict[str, Any]:
        return {
            "epoch": epoch,
            "batch": batch,
            "step": _step(self.model),
            "monitor": self.monitor,
            "mode": self._mode,
            "value": value,
            "metrics": {name: _number_or_text(metric) for name, metric in logs.items()},
            "format": self._path.format,
            "framework": keras.backend.backend(),
            "keras_version": keras.__version__,
        } | ({"parent": self._resumer.parent} if self._resumer.parent else {})

    def _tell(self, text: str | None = None) -> None:
        """Raise what has failed in the background; show its messages, then text."""
        self._saver.raise_failure()
        while self._saver.messages:
            self._show(self._saver.messages.popleft())
        if text is not None:
            self._show(text)

    def _show(self, text: str) -> None:
        if self.verbose > 0:
            print_text(f"\n{text}")


def _check_save_freq(save_freq: str | int) -> None:
    if save_freq == "epoch":
        return
    if not isinstance(save_freq, int) or isinstance(save_freq, bool) or save_freq < 1:
        raise InvalidCheckpoint(
            "Unrecognized save_freq: it is 'epoch' or a number of batches, 1 or more. "
            f"Received: save_freq={save_freq!r}"
        )


def _step(model: keras.Model) -> int | None:
    """Return how many steps the optimizer has made, None without an optimizer."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return None
    return int(keras.ops.convert_to_numpy(optimizer.iterations))


def _number_or_text(metric: Any) -> float | str:
    value = scalar(metric)
    return str(metric) if value is None else value


def _text(value: float | None) -> str:
    return "None" if value is None else f"{value:.5f}"

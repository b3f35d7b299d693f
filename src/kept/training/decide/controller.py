"""Decides when a fit saves a checkpoint, and hands results to upkeep, messages and the best value.

The way of a checkpoint: a hook decides to save and makes a SaveRequest. The saver takes a snapshot
and the writer thread does the rest, up to a SaveResult. Each hook of the training thread first
raises what failed in the background, then settles the results since the last hook.

A Controller works for one callback, its owner. It reads the attributes of Keras's ModelCheckpoint:
model, params, monitor, mode, verbose, save_best_only, save_weights_only and save_freq.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidCheckpoint
from kept.messages import show, show_once
from kept.training.data.live_progress import LiveProgress
from kept.training.decide.best import BestTracker
from kept.training.decide.continue_best import continue_best
from kept.training.decide.disk_forecast import DiskForecast
from kept.training.decide.leading import begun, lead, share, stop
from kept.training.decide.metric_mode import check_names, find_mode, monitored, saves_unmeasured
from kept.training.decide.moment import Moment
from kept.training.decide.preemption import Preemption, leave
from kept.training.decide.report import not_saved, save_begins
from kept.training.decide.results import Saves
from kept.training.decide.schedule import SaveSchedule
from kept.training.group.announce import BEGIN_OF_FIT, END_OF_FIT, Place
from kept.training.group.first_rank import Alone
from kept.training.monitor import Metric
from kept.training.naming import ArtifactName, fit_id
from kept.training.save.writer import wait_for_all
from kept.training.upkeep.compaction import check_can_compact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.training.decide.parts import Parts
    from kept.training.group.base import Group
    from kept.training.group.first_rank import Lead
    from kept.training.request import SaveRequest

    Logs = Mapping[str, Any]


class Controller:
    """Saves the checkpoints of its owner, which passes on the hooks of the fit."""

    def __init__(self, owner: Any, parts: Parts) -> None:
        """Raises InvalidCheckpoint."""
        self._owner, self.parts = owner, parts
        options, path, destination = parts.options, parts.path, parts.destination
        check_can_compact(options.compression, destination.store)
        self.name = ArtifactName(options.name)
        self.best = BestTracker()
        self._saves = Saves(owner, parts, self.best)
        self.saver = self._saves.saver
        self._resume = path.check_resume(options.resume)
        self._schedule = SaveSchedule(owner, options.seconds_between_saves)
        self._preemption = Preemption(options.grace_seconds)
        self._forecast = DiskForecast(owner, path, options, destination)
        self._mode: str | None = None  # "min" or "max" once the first batch has shown the metrics
        self._has_begun = False
        self._lead: Lead = Alone()
        self._is_due = False  # whether save_freq has asked for a save since the last open hook
        self._live = LiveProgress(owner)

    # --- hooks of the fit -------------------------------------------------------------------------

    def train_begin(self, group: Group | None = None) -> None:
        """Choose the artifact's name, and find out whether the store can be written."""
        self._lead = lead(group, self._owner, self.parts)
        with self._lead.hook(BEGIN_OF_FIT):
            self._begin()
        self._preemption.listen()

    def _begin(self) -> None:
        """Begin a fit. A loop that the user wrote may lack the hook, so the next one begins it."""
        self._has_begun = True
        wait_for_all()  # a fit that was interrupted in this process may have saves left
        self._follow_filepath()
        self._saves.begin()
        if self.parts.options.background and (why := self.parts.path.cannot_snapshot):
            show_once(f"files are written on the training thread: {why}")
        destination = self.parts.destination
        default, places = destination.default_name(), destination.places
        name = self.name.begin(fit_id(self._owner), places, default)
        self.parts.begin(name)
        self.best.begin_series((name, *places))
        self._mode, self._is_due = None, False
        resume, store = self._resume, destination.store
        is_shared = share(self._owner.model, self.parts, self._lead.group, self.saver)
        self._lead.begun(begun(name, store, is_shared=is_shared, resumes=bool(resume)))
        if resume and store is not None:
            key = f"{self._lead.fit}/resume"
            self.parts.resuming.prepare(store, name, resume, self._lead.group, key=key)
        self.parts.resuming.begin()
        self._schedule.begin_fit()
        self.parts.upkeep.begin()
        self._forecast.begin()
        self._live.begin(store, name, self.parts.adapter.framework)

    def epoch_begin(self, epoch: int) -> None:
        """Note the epoch, for saves after batches."""
        self._ready(-1)
        self._schedule.begin_epoch(epoch)
        self._live.epoch(epoch)
        self._forecast.check(epoch)
        self.parts.resuming.epoch_begin(epoch)

    def batch_end(self, batch: int, logs: Logs) -> None:
        """Save if save_freq, save_every or SIGTERM ask for it."""
        with self._lead.hook(Place(self._schedule.epoch, batch)):
            self._ready(batch)
            if not self.parts.resuming.passes(batch):
                self._batch_done(Moment(self._schedule.epoch, batch, logs), batch)
                return
            self._schedule.skip_batch(batch)
            self._lead.batches_until_save(1)  # unknown until the replay ends
            if self._lead.is_open(batch) and self._is_preempted():
                leave()  # nothing is new since the version that the fit resumes

    def _batch_done(self, moment: Moment, batch: int) -> None:
        self._first_batch_done(moment.logs)
        self._is_due |= self._schedule.end_batch(batch)
        self._live.batch(moment.epoch, batch, moment.logs)
        if not self._lead.is_open(batch):
            return
        is_due, self._is_due = self._is_due, False
        if is_due:
            self._save_by_metric(moment)
        if self._is_preempted():
            self._save_and_leave(moment)
        elif self._schedule.is_time():
            self._save_for_resuming(moment)
        self._lead.batches_until_save(self._schedule.batches_left)

    def epoch_end(self, epoch: int, logs: Logs) -> None:
        """Save with save_freq="epoch"."""
        with self._lead.hook(Place(epoch)):
            self._ready()
            self.parts.resuming.epoch_end()
            self._forecast.epoch_over()
            self._live.epoch_end(epoch, logs)
            self._first_batch_done(logs)
            moment = Moment(epoch, None, logs)
            if self._schedule.end_epoch():
                self._save_by_metric(moment)
            if self._is_preempted():
                self._save_and_leave(moment)

    def train_end(self) -> None:
        """Wait until every checkpoint is durable, and a while for mirrors that answer."""
        self._has_begun = False
        self._live.end()
        self.name.end()
        if self.parts.resuming.end():  # else a later fit of the script resumes
            self._resume = False  # this fit ended normally, so the next one continues it
        with self._lead.hook(END_OF_FIT):
            self._saves.finish()
            self._saves.report()
        self._preemption.stop()  # all is durable: SIGTERM need not wait for the rest
        self.parts.upkeep.finish_copies(self.parts.destination)
        if report := self.parts.upkeep.finish_compaction():
            self._saves.show(report)
        self.parts.upkeep.finish()

    # --- for the callback -------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every checkpoint so far is durable, for up to timeout seconds.

        Returns whether they are; raises SaveFailed.
        """
        return self._saves.wait(timeout)

    def close(self) -> None:
        """Wait until every checkpoint is durable, and free the memory of the snapshots."""
        self.name.end()
        self._saves.close()

    @property
    def dropped(self) -> int:
        """How many checkpoints on_busy="skip" skipped."""
        self._saves.results.settle()
        return self._saves.results.dropped

    @property
    def best_value(self) -> float | None:
        """The best value of the metric so far."""
        self._saves.results.settle()
        return self.best.value

    def get_state(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"best": self.best_value, "since_save": self._schedule.batches_since_save}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore what get_state returned."""
        self.best.value = state["best"]
        self._schedule.batches_since_save = state["since_save"]

    # --- decisions --------------------------------------------------------------------------------

    def _ready(self, batch: int | None = None) -> None:
        if not self._has_begun:
            self._begin()
        if self._lead.is_open(batch) and self._saves.report():
            stop(self._owner.model, self._lead)
        self._follow_filepath()

    def _is_preempted(self) -> bool:
        if self._lead.is_preempted:
            self._preemption.note()
        return self._preemption.is_due

    def _follow_filepath(self) -> None:
        """Take over a filepath that was set after construction; raises InvalidCheckpoint."""
        if changed := self.parts.changed_path(self._owner):
            self._saves.finish()  # what waits has the old format
            self.parts.path.become(changed)
            self.saver.background = self.parts.saves_snapshots

    def _first_batch_done(self, logs: Logs) -> None:
        """Do what needs the metrics and the optimizer's variables, once in a fit."""
        if self._mode is not None:
            return
        check_names(self._owner, self.parts.path, logs)
        self._mode = find_mode(self._owner, self.parts.adapter)
        if self._owner.save_best_only:
            metric = Metric(self._owner.monitor, self._mode)
            continue_best(self.best, self.parts, str(self.name.value), metric)
        self._forecast.check(self._schedule.epoch)
        self.saver.prepare(self._owner.model)

    def _save_by_metric(self, moment: Moment) -> None:
        """Save, unless save_best_only is set and the metric did not improve."""
        path = self.parts.path.fill(moment.epoch, moment.batch, moment.logs)
        metric = monitored(self._owner, self._mode, moment.logs)
        before = self.best.value
        improvement = self.best.propose(metric)
        if self._owner.save_best_only and improvement is None:
            if metric.value is not None:
                self._saves.show(not_saved(moment, metric, before))
                return
            if not saves_unmeasured(self._owner, self.parts.adapter, self.best, moment.logs):
                return
        self._saves.show(save_begins(moment, metric, improvement, path))
        request = self._request(moment, metric, path)
        contends = metric.is_better_than(self.best.initial)
        request = replace(request, best_only=self._owner.save_best_only)
        self._save(replace(request, improvement=improvement, contends=contends), moment)

    def _save_for_resuming(self, moment: Moment) -> None:
        """Save whatever the metric is, but do not replace the file of the best checkpoint."""
        try:
            path = self.parts.path.fill(moment.epoch, moment.batch, moment.logs)
            publish = not self._owner.save_best_only
        except InvalidCheckpoint:  # it needs a metric that exists at the end of an epoch only
            path, publish = self.parts.path.plain(), False
        metric = Metric(self._owner.monitor, self._mode)
        moment = replace(moment, started=time.perf_counter())  # SIGTERM waited for the writer
        request = self._request(moment, metric, path)
        self._save(replace(request, publish=publish and request.publish), moment)

    def _save_and_leave(self, moment: Moment) -> None:
        """Save for resuming before SIGKILL comes, and end the process."""
        writer = self.saver.writer
        writer.is_done(self._preemption.seconds_left)  # on_busy="skip" must not skip this one
        if writer.has_failed or not self._schedule.is_saved(moment):
            self._save_for_resuming(moment)
        if not writer.is_done(self._preemption.seconds_left):
            show("grace_seconds expired before the last checkpoint was saved")
        elif not writer.has_failed:
            self._saves.results.settle()
            if self._saves.results.newest_name:
                show(f"saved as {self._saves.results.newest_name}, leaving")
        self._saves.report()
        leave()

    def _request(self, moment: Moment, metric: Metric, path: str) -> SaveRequest:
        """Announce the save, before anything that the processes of a run do together.

        On JAX, reading the model puts the step's results into it, which may be such a thing.
        """
        is_taken = self.parts.options.on_busy == "wait" or self.saver.has_room
        shared = self._lead.save(with_state=self.parts.has_state) if is_taken else None
        model, name = self._owner.model, str(self.name.value)
        request = replace(self.parts.request(model, name, moment, metric, path), shared=shared)
        return replace(request, publish=False) if self.saver.group else request  # lacks some bytes

    def _save(self, request: SaveRequest, moment: Moment) -> None:
        self._schedule.save_begins()
        self.parts.upkeep.save_begins()
        if self._lead.group is not None and request.shared is None:
            self.saver.drop(request)  # the other ranks know of no save, also if one is possible now
        elif self._saves.save(request, wait=self.parts.options.on_busy == "wait"):
            self._schedule.saved(moment)

"""The versions of an OrbaxCheckpoint: each finished step goes to the destination, once."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidPath, KeptError, SaveFailed
from kept.messages import show, show_once
from kept.parallel import within
from kept.store.orbax.log_orbax import known_steps
from kept.store.orbax.steps import Facts, Identity, Step, find_steps, identity_of
from kept.sync.outbox.outbox import Outbox
from kept.training.callbacks.orbax_engine import SavedStep
from kept.training.decide.metric_mode import find_mode
from kept.training.destinations.open import open_destination
from kept.training.destinations.origin import RunOrigin
from kept.training.keras_api.keras3 import Keras3
from kept.training.monitor import Metric, scalar
from kept.training.naming import ArtifactName, fit_id
from kept.training.request import SaveRequest
from kept.training.save.disk_full import advice
from kept.training.save.failure_policy import FailurePolicy
from kept.training.save.writer import EXIT_SECONDS, Writer, wait_for_all, wait_with_notice
from kept.training.upkeep.upkeep import Upkeep
from kept.workspace import abandoned

if TYPE_CHECKING:
    from kept.store.metadata import MeasuredMetadata
    from kept.store.store import Store
    from kept.store.version import Version
    from kept.training.decide.moment import Moment
    from kept.training.options import Options

_writers: weakref.WeakSet[Writer] = weakref.WeakSet()
_PATIENCE = 10.0  # seconds that a fit waits at its begin for the list of versions


@dataclass(frozen=True, slots=True)
class OrbaxFiles:
    """A secured step; see Checkpoint in destinations/base.py."""

    request: SaveRequest
    folder: str
    metadata: MeasuredMetadata

    @property
    def files(self) -> list[str]:
        """See Checkpoint."""
        return [self.folder]

    def on_disk(self) -> dict[str, str]:
        """See Checkpoint."""
        parent = os.path.dirname(self.folder)
        paths = [os.path.join(w, file) for w, _, files in os.walk(self.folder) for file in files]
        return {os.path.relpath(path, parent): path for path in paths}

    def state_on_disk(self) -> dict[str, str]:
        """See Checkpoint; the state of a run is not in Orbax's files."""
        return {}


class OrbaxVersions:
    """Commits the steps of one callback on a writer thread."""

    def __init__(self, directory: str, options: Options) -> None:
        """Open the destination; raises what that raises."""
        self._directory, self._options = directory, options
        self._name = ArtifactName(options.name)
        self._upkeep = Upkeep(None, options)
        self._destination = open_destination(options, self._upkeep)
        self._origin = RunOrigin(options, Keras3())
        self._writer = Writer()
        self._failures = FailurePolicy(self._writer, options.on_error)
        self._open: deque[SavedStep] = deque()  # submitted, and perhaps not secured yet
        self._untaken = contextlib.ExitStack()  # locks of links whose steps are not taken yet
        _writers.add(self._writer)
        _listen_for_exit()

    @property
    def name(self) -> str | None:
        """The artifact's name; None before the first fit if it was not given."""
        return self._name.value

    @property
    def store(self) -> Store | None:
        """The store of the versions."""
        return self._destination.store

    def now(self) -> list[Version]:
        """Return the committed versions, oldest first, with their aliases of now."""
        return self._upkeep.versions_now()

    def begin(self, callback: Any) -> None:
        """Choose the artifact's name, and take the finished steps that are no versions yet.

        A name that was not given is new in each process, so no earlier step belongs to it.
        """
        wait_for_all()
        self._failures.begin()
        destination = self._destination
        name = self._name.begin(fit_id(callback), destination.places, destination.default_name())
        destination.begin(name)
        self._origin.begin(destination)
        self._upkeep.begin()
        if self._options.name is not None or destination.is_named:
            self._take_earlier()

    def submit(self, saved: SavedStep) -> None:
        """Commit a step on the writer thread, once Orbax has finished it."""
        self._open.append(saved)
        self._writer.submit(lambda: self._commit(saved))

    def secure(self) -> None:
        """Secure every submitted step, because Orbax may delete it when its next save is finished.

        The writer thread reports a step that failed.
        """
        for saved in [*self._open]:
            with contextlib.suppress(Exception):
                saved.secure()

    def report(self) -> None:
        """Raise what failed in the background, or warn of it."""
        self._failures.report()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every submitted step is committed, for up to timeout seconds."""
        return self._writer.wait(timeout)

    def finish(self) -> None:
        """Wait until every submitted step is committed, and a while for copies elsewhere."""
        self._name.end()
        with self._failures.applied():
            wait_with_notice(self._writer, "committing the last checkpoints")
        self._failures.report()
        self._upkeep.finish_copies(self._destination)
        self._upkeep.finish()

    def _take_earlier(self) -> None:
        """Submit the finished steps of earlier runs, which were killed before the commit."""
        if not os.path.isdir(self._directory):
            return
        self._untaken.close()
        with contextlib.ExitStack() as held:
            steps = _earlier(self._directory, held.enter_context(abandoned(self._directory)))
            if not steps:
                return
            try:
                known = within(_PATIENCE, self._known)
            except (KeptError, OSError) as error:  # TimeoutError, too
                show(
                    f"earlier steps in {self._directory} are not taken, because the versions in "
                    f"{self._destination.location} cannot be read now: {error}"
                )
                self._untaken = held.pop_all()  # so they are not removed
                return
            missing = [step for step in steps if step.identity not in known]
            for step in missing:
                folder = os.path.join(self._directory, os.path.basename(step.folder))
                saved = SavedStep(folder, source=step.folder)
                saved.secure()
                self.submit(saved)
        if missing:
            numbers = ", ".join(str(step.number) for step in missing)
            show(f"steps of earlier runs become versions of {self._name.value}: {numbers}")

    def _known(self) -> set[Identity]:
        """Return which saves of Orbax are versions, or wait in the outbox to become ones."""
        store, name = self._destination.store, str(self._name.value)
        if store is None:
            return set()
        waiting = (e.info for e in Outbox().entries(store.location) if e.artifact == name)
        found = (identity_of(info.get("metadata", {})) for info in waiting)
        return known_steps(store, name) | {one for one in found if one is not None}

    def _commit(self, saved: SavedStep) -> None:
        """Commit one step; for the writer thread. Raises SaveFailed."""
        started = time.perf_counter()
        try:
            step = saved.read()
            request = _request(step, str(self._name.value), saved.folder, started)
            if saved.is_of_this_run:
                request = replace(request, origin=self._origin.of(None))
            files = OrbaxFiles(request, step.folder, step.metadata(started))
            submitted = self._destination.submit(files)
        except Exception as error:
            raise self._failed(saved, error) from error
        finally:
            saved.release()
            self._open.remove(saved)
        if submitted.version is not None:
            self._upkeep.arrived(submitted.version)

    def _failed(self, saved: SavedStep, error: Exception) -> SaveFailed:
        return SaveFailed(
            f"{saved.folder} could not become a version in {self._destination.location}: "
            f"{type(error).__name__}: {error}{advice(error, self._destination)}"
        )


class OrbaxSaves:
    """What Orbax's checkpointer reports of one callback, and what it notes beside each step."""

    def __init__(self, callback: Any, options: Options, versions: OrbaxVersions | None) -> None:
        self._callback, self._options, self._versions = callback, options, versions
        self._initial: float | None = callback.best  # initial_value_threshold
        self.adapter = Keras3()
        self.moment: Moment | None = None  # of the hook that is running

    def metric(self, value: Any) -> Metric:
        """Return the monitored metric with a value; raises InvalidCheckpoint for its mode."""
        mode = find_mode(self._callback, self.adapter)
        return Metric(self._callback.monitor, mode, scalar(value))

    def save_begins(self) -> dict[str, Any]:
        """See Saves in orbax_engine.py."""
        if self._versions:
            self._versions.secure()
        return self._facts(self.moment).as_json() if self.moment else {}

    def save_begun(self, number: int, response: Any) -> None:
        """See Saves in orbax_engine.py: the writer thread commits the step when it is finished."""
        directory = self._callback.directory
        if response is None:
            show_once(
                f"Orbax leaves out step {number}, because {directory} has a later step or is "
                "being saved. Continue with initial_epoch=, or use another directory"
            )
        elif self._versions:
            self._versions.submit(SavedStep(os.path.join(directory, str(number)), response))

    def _facts(self, moment: Moment) -> Facts:
        metric = self.metric(moment.logs.get(self._callback.monitor))
        metadata = {
            **(self._options.metadata or {}),
            **moment.metadata(self.adapter.step(self._callback.model), metric),
            "format": "orbax",
            "framework": self.adapter.framework,
            "keras_version": self.adapter.version,
        }
        aliases = tuple(dict.fromkeys((moment.alias, *self._options.aliases)))
        return Facts(aliases, metadata, contends=metric.is_better_than(self._initial))


@functools.cache
def _listen_for_exit() -> None:
    """Register what waits for Orbax when the process ends, for example after an error in fit.

    Orbax cannot finish a step once Python has shut down its thread pools, and that is before the
    functions of atexit run. Python calls the functions registered here in reverse order, so those
    of the pools come later.
    """
    register = getattr(threading, "_register_atexit", atexit.register)
    register(_finish_all)


def _finish_all() -> None:
    end = time.monotonic() + EXIT_SECONDS
    for writer in [*_writers]:
        writer.is_done(max(end - time.monotonic(), 0.0))  # it reports its failures itself


def _earlier(directory: str, workspaces: list[str]) -> list[Step]:
    """Return the finished steps of Orbax's folder and of the links that a killed process left."""
    found = []
    for place in workspaces:
        with contextlib.suppress(InvalidPath, OSError):  # no links, or just removed
            found += find_steps(place).finished
    found += find_steps(directory).finished
    each = {step.identity: step for step in found}  # in Orbax's own folder, if it has the step
    return sorted(each.values(), key=lambda step: (step.number, step.saved or 0))


def _request(step: Step, artifact: str, folder: str, started: float) -> SaveRequest:
    return SaveRequest(
        model=None,
        artifact=artifact,
        path=folder,
        target=folder,
        aliases=step.facts.aliases,
        metadata=step.facts.metadata,
        label=f"step {step.number}",
        started=started,
        contends=step.facts.contends,
        publish=False,
    )

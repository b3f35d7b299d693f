"""Evaluates a version: a command measures it, and the metrics that it prints are logged."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TextIO

from kept.errors import CommandFailed, InvalidInput
from kept.store.describe.log_metrics import check_label, living, log_metrics, metrics_event
from kept.workspace import workspace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kept.store.content.manifest import File
    from kept.store.describe.command import Command
    from kept.store.log.history import VersionRecord
    from kept.store.log.log import Log

_STATE = "kept-state."  # how the names of the files of a run's state begin
_MODELS = (".keras", ".h5", ".hdf5")


class Evaluable(Protocol):
    """The part of a Version that an evaluation needs."""

    @property
    def reference(self) -> str: ...

    @property
    def index(self) -> int: ...

    @property
    def record(self) -> VersionRecord: ...

    @property
    def files(self) -> tuple[File, ...]: ...

    def download(self, root: str | os.PathLike[str]) -> Path: ...


class Outcome(NamedTuple):
    """The metrics of an evaluation, and whether this call has measured them."""

    metrics: dict[str, float | str]
    is_new: bool


class Evaluation(NamedTuple):
    """A command that measures versions, under a name."""

    name: str
    command: Command
    dataset: str | None = None
    force: bool = False  # also of a version that has metrics of this name

    def check(self) -> None:
        """Raise InvalidInput for a name that cannot be logged."""
        check_label(self.name, "An evaluation has a name")
        if self.dataset is not None:
            check_label(self.dataset, "A data set has a name")

    def of(self, log: Log, version: Evaluable, location: str, to: TextIO) -> Outcome:
        """Evaluate a version of a log, unless that is done already.

        The command finds the version's files in a temporary folder; its environment names it. The
        output of the command goes to a stream, except the metrics. If two processes evaluate a
        version at once, the first result counts. Raises CommandFailed, VersionNotFound for a
        deleted version, or what a download raises; nothing is logged then.
        """
        # What a list of versions says costs nothing; a look at the log does.
        known = {} if self.force else version.record.changes.evaluated(self.name)
        if not known:
            known = living(log.view(), version.index).changes.evaluated(self.name)
        if known and not self.force:
            return Outcome(known, is_new=False)
        event = metrics_event(self._measured(version, location, to), self.dataset, self.name)
        record = log_metrics(log, version.index, event, once=not self.force)
        if record is None:
            known = living(log.view(), version.index).changes.evaluated(self.name)
            return Outcome(known, is_new=False)
        return Outcome(event["metrics"], is_new=True)

    def _measured(self, version: Evaluable, location: str, to: TextIO) -> dict[str, Any]:
        # A later process removes the workspace of a killed one. It also has a file for its lock.
        with workspace(tempfile.gettempdir()) as place:
            folder = str(version.download(os.path.join(place, "files")))
            variables = {
                "KEPT_CHECKPOINT": checkpoint_in(folder, [file.path for file in version.files]),
                "KEPT_FOLDER": folder,
                "KEPT_REFERENCE": version.reference,
                "KEPT_STORE": location,
                "KEPT_EVALUATION": self.name,
            }
            try:
                found = self.command.run(variables, to)
                metrics_event(found)
            except (CommandFailed, InvalidInput) as error:
                raise CommandFailed(f"{self.name} of {version.reference}: {error}") from None
            return found


def checkpoint_in(folder: str, paths: Sequence[str]) -> str:
    """Return the path of the one file of a model, or the folder if a version has several files.

    The state of a run does not count.
    """
    files = [path for path in paths if not path.startswith(_STATE)]
    models = [path for path in files if path.endswith(_MODELS)]
    for found in (files, models):
        if len(found) == 1:
            return os.path.join(folder, found[0])
    return folder

"""Uploads checkpoints to W&B: each is in the outbox until W&B has confirmed it.

Invariant: an entry leaves the outbox only after the server has confirmed the commit. If an entry
may have been sent before, the server is asked first. So nothing is lost and nothing is stored
twice, wherever a process dies.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from kept.errors import RunEnded, UploadFailed
from kept.messages import show
from kept.store.metadata import check_metadata
from kept.sync.courier import EXIT_SECONDS, Courier, Words
from kept.sync.outbox.outbox import Outbox
from kept.sync.outbox.rejected import rejection_of
from kept.sync.wandb import sdk, server
from kept.sync.wandb.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from kept.store.encoding import Json
    from kept.sync.outbox.entry import Entry
    from kept.sync.wandb.sdk import Place


_BEST = "best"  # the alias
_Mark = tuple[int, int, int]  # inode, bytes and time: a file that is moved keeps them


@dataclass(frozen=True, slots=True)
class UploadInfo:
    """The version that a checkpoint becomes in W&B."""

    name: str  # of the artifact
    type: str = "model"
    aliases: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    description: str | None = None
    ttl: timedelta | None = None
    references: Mapping[str, str] = field(default_factory=dict)  # path in the version -> URI
    history_step: int | None = None  # the run's step at the save; None: that of the upload

    def as_json(self, place: Place, *, offline: bool) -> dict[str, Json]:
        """Return the info of an entry of the outbox, for a run; an offline one knows no server."""
        return {
            "artifact": self.name,
            "type": self.type,
            "aliases": list(self.aliases),
            "metadata": check_metadata(self.metadata),
            "description": self.description,
            "ttl_seconds": self.ttl and round(self.ttl.total_seconds()),
            "references": dict(self.references),
            "history_step": self.history_step,
            "run": {**place.as_json(), "offline": offline},
        }


@dataclass(frozen=True)
class _UploadWords(Words):
    """The texts about a run; they count its checkpoints."""

    uploads: WandbUploads
    has_all: ClassVar[bool] = False

    def left(self) -> str:
        """See Words."""
        return self.uploads.left_text()


class Waits(Protocol):
    """Writes checkpoints on another thread."""

    def wait(self, timeout: float | None) -> bool:
        """Wait until all of them are written, for up to timeout seconds; raise what failed."""


class WandbUploads:
    """Uploads the checkpoints of a run while it trains; all callbacks of a fit share it."""

    def __init__(self, run: Any, outbox: Outbox | None = None) -> None:
        """Take a run of wandb.init, online, offline or disabled; send nothing yet."""
        self._run = run  # keeps the id of the run in _uploads unique
        self._outbox = outbox or Outbox()
        place = sdk.place_of(run)
        self._sender = Sender(run, place) if place else None  # None: the run is disabled
        self._offline = bool(run.offline)
        self._best: dict[str, Mapping[str, Any]] = {}  # artifact -> metadata of its best version
        self._best_files: dict[str, dict[str, _Mark]] = {}  # artifact -> files of that version
        self._claim = contextlib.ExitStack()
        self._has_claim = False  # on the run, while it lives and entries are left
        self._claiming = threading.Lock()
        self._has_ended = False
        self._is_unreported = False  # whether entries were added since the last report
        self._writers: weakref.WeakSet[Waits] = weakref.WeakSet()
        label = place.label if place else "disabled"
        self._destination = f"the W&B run {label}"
        self._later = f"to send it: kept sync --outbox {self._outbox.folder}"
        words = _UploadWords(self._destination, self._outbox.folder, self._later, self)
        self._courier = Courier(self, words)
        if place:
            sdk.note_use(run)
            sdk.before_end(run, _end_of(self))
            self._hold_left()

    def wait_for(self, writer: Waits) -> None:
        """Before the run ends, wait for the checkpoints of a writer, for some seconds."""
        self._writers.add(writer)

    def _before_end(self) -> None:
        """Send what is left while the run still takes it, for a bounded time; report the rest.

        This matters if an exception ends the run: no callback is called then.
        """
        for writer in [*self._writers]:
            with contextlib.suppress(Exception):  # the fit has ended, and its errors are known
                writer.wait(EXIT_SECONDS)
        if self._courier.pending or (self._is_unreported and self._left()):
            self.finish()
        with self._claiming:
            self._has_ended = True
            self._claim.close()
        if self._sender is not None:
            self._sender.end()

    def begin(self) -> None:
        """Send the entries that an earlier process has left for this run."""
        if self._hold_left():
            self._courier.wake(self._destination)

    def _hold_left(self) -> bool:
        """Claim the run if an earlier process has left entries for it; return whether it has.

        The run lives from now on, also while it still loads its data.
        """
        if self._offline or not self._left():
            return False
        with self._claiming:
            self._hold()
        return True

    def add(
        self,
        info: UploadInfo,
        files: Mapping[str, str | os.PathLike[str]],
        beside: str | os.PathLike[str] | None = None,
    ) -> Entry | None:
        """Put a checkpoint in the outbox, where it is safe, and wake the courier.

        files and beside are those of Outbox.add. Returns None, and does nothing, if the run is
        disabled. Raises what Outbox.add raises.
        """
        if self._sender is None:
            return None
        destination = self._sender.place.destination
        with self._claiming:  # before the entry exists, or `kept sync` would resume the run
            if not self._offline and not self._has_ended:
                self._hold()
            json = info.as_json(self._sender.place, offline=self._offline)
            entry = self._outbox.add(destination, files, json, beside)
        self._is_unreported = True
        if _BEST in info.aliases:
            self._best[info.name] = entry.info["metadata"]
            self._best_files[info.name] = {name: _mark(path) for name, path in files.items()}
        if not self._offline:
            self._sender.is_new(entry)
            self._courier.wake(self._destination)
        return entry

    def best(self, artifact: str) -> Mapping[str, Any] | None:
        """Return the metadata of the run's best checkpoint so far, None if there is none.

        The server is asked only if an earlier process may have sent it. Raises Damaged, or
        UploadFailed if the server does not answer.
        """
        if self._sender is None:
            return None
        if artifact not in self._best:
            left = [e for e in self._left() if e.artifact == artifact]
            found = [e.info["metadata"] for e in left if _BEST in e.info["aliases"]]
            if not found and self._run.resumed and not self._offline:
                found = [server.best(self._sender.place, artifact)]
            if not found or found[-1] is None:
                return None
            self._best[artifact] = found[-1]
        return self._best[artifact]

    def is_newest_best(self, artifact: str, files: Mapping[str, str]) -> bool:
        """Return whether these files are those of the best checkpoint, which this process added."""
        marks = {name: _mark(path) for name, path in files.items()}
        return bool(marks) and self._best_files.get(artifact) == marks

    def finish(self) -> None:
        """Wait while W&B answers, for a bounded time, and report what is left."""
        self._is_unreported = False
        if not self._offline:
            self._courier.finish()
        if not self._courier.pending and self._left():  # else the courier has reported it
            show(
                f"{self.left_text()} in {self._destination} ({self._why_left()}). "
                f"Safe in {self._outbox.folder}; {self._later}"
            )

    def _why_left(self) -> str:
        if self._offline:
            return "W&B is offline"
        rejections = filter(None, map(rejection_of, self._left()))
        return next((rejection.reason for rejection in rejections), "it was ended")

    def left_text(self) -> str:
        """Return how many checkpoints are missing, for "… in the run yet"."""
        count = len(self._left())
        return "one checkpoint is not" if count == 1 else f"{count} checkpoints are not"

    def _left(self) -> list[Entry]:
        if self._sender is None:
            return []
        found = self._outbox.entries(self._sender.place.destination)
        return list(filter(self._sender.takes, found))

    def send(self, what: str) -> None:
        """Send all entries of the run, which is the courier's one key, called what.

        A run that has ended sends nothing: a later run with its id may be sending them. Raises
        UploadFailed, or what Sender.send_all raises.
        """
        with self._claiming:
            if self._sender is None or (self._has_ended and not self._is_unreported):
                return
            if self._has_ended:
                raise RunEnded(f"{what} is finished")
            if not self._hold():
                raise UploadFailed(f"another process is sending to {what}")
        try:
            for entry in self._sender.send_all(self._left()):
                self._outbox.confirm(entry)
        except RunEnded:
            if not self._has_ended:  # else _before_end has reported what is left
                raise
        finally:
            with self._claiming:
                if self._has_ended or not self._left():
                    self._claim.close()

    def _hold(self) -> bool:
        """Claim the run, so that `kept sync` leaves it alone; return whether that is done."""
        if not self._has_claim and self._sender is not None:
            claim = self._outbox.draining(self._sender.place.destination)
            self._has_claim = self._claim.enter_context(claim)
            self._claim.callback(self._lose_claim)
        return self._has_claim

    def _lose_claim(self) -> None:
        self._has_claim = False


def _end_of(uploads: WandbUploads) -> Callable[[], None]:
    """Return what the SDK calls before the run of some uploads ends; it does not hold them."""
    reference = weakref.ref(uploads)

    def before_end() -> None:
        if found := reference():
            found._before_end()  # noqa: SLF001 - of this module

    return before_end


_uploads: weakref.WeakValueDictionary[tuple[int, str], WandbUploads] = weakref.WeakValueDictionary()


def _mark(path: str | os.PathLike[str]) -> _Mark:
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns


def uploads_of(run: Any) -> WandbUploads:
    """Return the uploads of a run, the same object to every caller: a run has one sender."""
    outbox = Outbox()
    key = (id(run), outbox.folder)
    found = _uploads.get(key)
    if found is None:
        found = _uploads[key] = WandbUploads(run, outbox)
    return found

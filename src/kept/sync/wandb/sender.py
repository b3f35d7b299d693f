"""Sends entries of an outbox to one run of W&B, one after the other.

Invariant: no entry is sent a second time before the first attempt has ended and the server has
said whether it has the entry.

The order: an error that may pass (a server that does not answer, wrong credentials) stops all later
entries, so versions stay in order. An error about one entry (its name, its type, its bytes) does
not: later entries are sent, and the rejected one stays with its reason, see rejected.py.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from kept.errors import Damaged, KeptError, Refused, RunEnded, Unreachable, UploadFailed
from kept.sync.outbox.rejected import aliases_of, is_overtaken, note_later, reject
from kept.sync.wandb import sdk, server
from kept.sync.wandb.ping import answers
from kept.sync.wandb.sdk import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.sync.outbox.entry import Entry

_ASK_SECONDS = 10.0  # of a long upload, after which the server is asked whether it answers
_PAUSES = (1.0, 5.0)  # before further attempts, if W&B gave up while its server answered


class Sender:
    """Sends entries to a run; it does not retry an entry that the run has rejected."""

    def __init__(self, run: Any, place: Place) -> None:
        self._run, self.place = run, place
        self._new: set[str] = set()  # write_ids that were never sent
        self._known: dict[str, dict[str, str]] = {}  # artifact -> what server.known returned
        self._rejected: set[str] = set()  # write_ids
        self._attempt: _Attempt | None = None
        self._has_ended = False

    def end(self) -> None:
        """Stop waiting for attempts: the run has ended, and may never answer it."""
        self._has_ended = True

    def is_new(self, entry: Entry) -> None:
        """Note that no attempt to send the entry was made."""
        self._new.add(entry.write_id)

    def takes(self, entry: Entry) -> bool:
        """Return whether an entry for the run's destination is for its entity too."""
        return place_of_entry(entry).entity in ("", self.place.entity)

    def send_all(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Send entries in order; yield each one that W&B has.

        Raises what send raises; Damaged and Refused only after the last entry.
        """
        rejected: list[Entry] = []
        first: KeptError | None = None
        for entry in entries:
            if entry.write_id not in self._rejected:
                try:
                    self.send(entry)
                except (Damaged, Refused) as error:
                    self._rejected.add(entry.write_id)
                    reject(entry, str(error))
                    first = first or error
                else:
                    note_later(rejected, entry)
                    yield entry
                    continue
            rejected.append(entry)
        if first is not None:
            raise first

    def send(self, entry: Entry) -> None:
        """Return when W&B has the entry.

        Raises Unreachable or UploadFailed for errors that may pass, RunEnded, Damaged, or Refused.
        """
        for pause in _PAUSES:
            try:
                self._send(entry)
            except _GivenUp:
                time.sleep(pause)
            else:
                return
        try:
            self._send(entry)
        except _GivenUp as error:
            raise Refused(f"W&B rejected this checkpoint: {error}") from error

    def _send(self, entry: Entry) -> None:
        if self._attempt is None or self._attempt.entry.write_id != entry.write_id:
            if self._is_on_server(entry):
                return
            entry.check()
            is_late = self._is_late(entry)
            self._new.discard(entry.write_id)
            self._attempt = _Attempt(self._run, self.place, entry, is_late=is_late)
        # An attempt continues inside wandb whatever happens here. So it must end before the next.
        while not self._attempt.wait(_ASK_SECONDS):
            if self._has_ended:
                raise RunEnded("the run has ended during the upload")
            if not answers(self.place):
                raise Unreachable(f"{self.place.base_url} does not answer")
        error, self._attempt = self._attempt.error, None
        if error is not None:
            self._known.clear()
            self._raise(error)

    def _raise(self, error: BaseException) -> None:
        if isinstance(error, (Refused, RunEnded)):
            raise error
        text = f"{type(error).__name__}: {error}"
        if sdk.may_pass(error) or not answers(self.place):
            raise UploadFailed(text) from error
        raise _GivenUp(text) from error

    def _is_on_server(self, entry: Entry) -> bool:
        if entry.write_id in self._new:
            return False
        if entry.artifact not in self._known:
            type = entry.info["type"]
            self._known[entry.artifact] = server.known(self.place, entry.artifact, type)
        return entry.write_id in self._known[entry.artifact]

    def _is_late(self, entry: Entry) -> bool:
        """Return whether the server has a later checkpoint, of a job on another machine, too."""
        if is_overtaken(entry):
            return True
        saved = self._known.get(entry.artifact, {}).values()
        return entry.write_id not in self._new and any(time > entry.time for time in saved)


class _GivenUp(Exception):
    """W&B has ended an attempt with an error that is not known to pass."""


class _Attempt:
    """One call of sdk.log, in a thread, because it cannot be interrupted."""

    def __init__(self, run: Any, place: Place, entry: Entry, *, is_late: bool) -> None:
        self.entry, self._place, self._is_late = entry, place, is_late
        self.error: BaseException | None = None
        self._run = run
        self._over = threading.Event()
        threading.Thread(target=self._log, name="kept-wandb", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        return self._over.wait(seconds)

    def _log(self) -> None:
        try:
            with server.best_kept(self._place, self.entry, aliases_of(self.entry)) as own:
                sdk.log(self._run, self.entry, own, is_overtaken=self._is_late)
        except BaseException as error:  # noqa: BLE001 - raised by send
            self.error = error
        finally:
            self._over.set()


def place_of_entry(entry: Entry) -> Place:
    """Return the run that an entry is for."""
    return Place.from_json(entry.info["run"])

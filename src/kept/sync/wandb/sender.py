"""Sending entries of an outbox to one run of W&B, one after the other.

Invariant: no entry is sent a second time before the first attempt has ended and the server was
asked whether it has the entry.

The order rule: what may pass (a server that is away, credentials that are wrong) keeps everything
that comes after it waiting, so versions are in order. What W&B says of one entry (its name, its
type, its bytes) does not: later ones go, the refused one stays with its reason, see refusals.py.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from kept.errors import Damaged, KeptError, Refused, RunEnded, Unreachable, UploadFailed
from kept.sync.outbox.rejected import aliases_of, pass_by, refuse
from kept.sync.wandb import sdk as wandb_run
from kept.sync.wandb.ping import answers
from kept.sync.wandb.sdk import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kept.sync.outbox.outbox import Entry

_ASK_SECONDS = 10.0  # while an upload takes long: whether the server is there
_PAUSES = (1.0, 5.0)  # before an entry is tried again that W&B gave up while its server answered


class Sender:
    """Sends entries to a run; what the run has refused once is not tried again by the same one."""

    def __init__(self, run: Any, place: Place) -> None:
        self._run, self.place = run, place
        self._new: set[str] = set()  # write_ids that were never sent
        self._known: dict[str, set[str]] = {}  # artifact -> write_ids that the server has
        self._refused: set[str] = set()  # write_ids
        self._attempt: _Attempt | None = None

    def is_new(self, entry: Entry) -> None:
        """Take note that no attempt to send the entry was made."""
        self._new.add(entry.write_id)

    def takes(self, entry: Entry) -> bool:
        """Return whether an entry for the run's destination is for its entity too."""
        return place_of_entry(entry).entity in ("", self.place.entity)

    def send_all(self, entries: Iterable[Entry], sent: Callable[[Entry], None]) -> None:
        """Send entries in order; sent hears of each.

        Raises what send raises, but only in the end where it is Damaged or Refused.
        """
        refused: list[Entry] = []
        first: KeptError | None = None
        for entry in entries:
            if entry.write_id not in self._refused:
                try:
                    self.send(entry)
                except (Damaged, Refused) as error:
                    self._refused.add(entry.write_id)
                    refuse(entry, str(error))
                    first = first or error
                else:
                    pass_by(refused, entry)
                    sent(entry)
                    continue
            refused.append(entry)
        if first is not None:
            raise first

    def send(self, entry: Entry) -> None:
        """Return when W&B has the entry.

        Raises Unreachable or UploadFailed for what may pass, RunEnded, Damaged, or Refused.
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
            raise Refused(f"W&B does not take it: {error}") from error

    def _send(self, entry: Entry) -> None:
        if self._attempt is None or self._attempt.entry.write_id != entry.write_id:
            if self._is_there(entry):
                return
            entry.check()
            self._new.discard(entry.write_id)
            self._attempt = _Attempt(self._run, entry)
        # An attempt goes on inside wandb whatever happens here, so it is never made a second
        # time before the first has ended.
        while not self._attempt.wait(_ASK_SECONDS):
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
        if wandb_run.may_pass(error) or not answers(self.place):
            raise UploadFailed(text) from error
        raise _GivenUp(text) from error

    def _is_there(self, entry: Entry) -> bool:
        if entry.write_id in self._new:
            return False
        if entry.artifact not in self._known:
            type = entry.content["type"]
            self._known[entry.artifact] = wandb_run.known(self.place, entry.artifact, type)
        return entry.write_id in self._known[entry.artifact]


class _GivenUp(Exception):
    """W&B has ended an attempt with an error that is not known to pass."""


class _Attempt:
    """One call of wandb_run.log, on a thread of its own, since it cannot be broken off."""

    def __init__(self, run: Any, entry: Entry) -> None:
        self.entry = entry
        self.error: BaseException | None = None
        self._run = run
        self._over = threading.Event()
        threading.Thread(target=self._log, name="kept-wandb", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        return self._over.wait(seconds)

    def _log(self) -> None:
        try:
            wandb_run.log(self._run, self.entry, aliases_of(self.entry))
        except BaseException as error:  # noqa: BLE001 - raised by send
            self.error = error
        finally:
            self._over.set()


def place_of_entry(entry: Entry) -> Place:
    """Return the run that an entry is for."""
    return Place.from_json(entry.content["run"])

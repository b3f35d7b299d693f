"""Uploading checkpoints to W&B: each is in the outbox until W&B has confirmed it.

Invariant: an entry leaves the outbox only after the server has said that the version is committed.
An entry that may have been sent before is looked for on the server first. So nothing is lost and
nothing is there twice, wherever a process dies.
"""

from __future__ import annotations

import contextlib
import weakref
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kept.errors import Unreachable, UploadFailed
from kept.messages import show
from kept.store.metadata import check_metadata
from kept.sync.courier import Courier, Words
from kept.sync.outbox.outbox import Entry, Outbox
from kept.sync.outbox.rejected import refusal_of
from kept.sync.wandb import sdk as wandb_run
from kept.sync.wandb.ping import answers
from kept.sync.wandb.sender import Sender, place_of_entry

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from kept.store.encoding import Json
    from kept.sync.wandb.sdk import Place


_BEST = "best"  # the alias


@dataclass(frozen=True, slots=True)
class Label:
    """What a checkpoint is to be in W&B."""

    name: str  # of the artifact
    type: str = "model"
    aliases: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    description: str | None = None
    ttl: timedelta | None = None
    references: Mapping[str, str] = field(default_factory=dict)  # path in the version -> URI

    def content(self, place: Place) -> dict[str, Json]:
        """Return the content of an entry of an outbox."""
        return {
            "artifact": self.name,
            "type": self.type,
            "aliases": list(self.aliases),
            "metadata": check_metadata(self.metadata),
            "description": self.description,
            "ttl_seconds": self.ttl and round(self.ttl.total_seconds()),
            "references": dict(self.references),
            "run": place.as_json(),
        }


class WandbUploads:
    """The uploads of a run, while it trains; all callbacks of a fit share them, see uploads_of."""

    def __init__(self, run: Any, outbox: Outbox | None = None) -> None:
        """Take a run of wandb.init, online, offline or disabled; nothing is sent yet."""
        self._run = run  # held, so that its id in _uploads is not given to another
        self._outbox = outbox or Outbox()
        place = wandb_run.place_of(run)
        self._sender = Sender(run, place) if place else None  # None: the run is disabled
        self._offline = bool(run.offline)
        self._best: dict[str, Mapping[str, Any]] = {}  # artifact -> metadata of its best version
        self._claim = contextlib.ExitStack()
        self._has_claim = False  # on the run, as long as something is left to send
        label = place.label if place else "disabled"
        self._destination = f"the W&B run {label}"
        self._later = f"to send it: kept sync --outbox {self._outbox.folder}"
        words = Words(self._destination, self._outbox.folder, self._later, self._left_text)
        self._courier = Courier(self, words, held=self._claim)

    def begin(self) -> None:
        """Send what an earlier process has left for this run."""
        if not self._offline and self._left():
            self._courier.wake(self._destination)

    def add(
        self,
        label: Label,
        files: Mapping[str, str | os.PathLike[str]],
        beside: str | os.PathLike[str] | None = None,
    ) -> Entry | None:
        """Have a checkpoint uploaded; it is safe in the outbox on return, and nothing is sent yet.

        files and beside are those of Outbox.add. For a run that is disabled nothing happens, and
        None is returned. Raises what Outbox.add raises.
        """
        if self._sender is None:
            return None
        destination = self._sender.place.destination
        content = label.content(self._sender.place)
        entry = self._outbox.add(destination, files, content, beside)
        if _BEST in label.aliases:
            self._best[label.name] = content["metadata"]
        if not self._offline:
            self._sender.is_new(entry)
            self._courier.wake(self._destination)
        return entry

    def best(self, artifact: str) -> Mapping[str, Any] | None:
        """Return the metadata of the run's best checkpoint so far, None if there is none.

        The server is asked only where an earlier process may have sent it. Raises Damaged, or
        UploadFailed if the server cannot be asked.
        """
        if self._sender is None:
            return None
        if artifact not in self._best:
            left = [e for e in self._left() if e.artifact == artifact]
            found = [e.content["metadata"] for e in left if _BEST in e.content["aliases"]]
            if not found and self._run.resumed and not self._offline:
                found = [wandb_run.best(self._sender.place, artifact)]
            if not found or found[-1] is None:
                return None
            self._best[artifact] = found[-1]
        return self._best[artifact]

    def finish(self) -> None:
        """Wait as long as W&B answers, for a bounded time, and tell what is left."""
        if not self._offline:
            self._courier.finish()
        if not self._courier.pending and self._left():  # else the courier has told
            show(
                f"{self._left_text()} in {self._destination} ({self._why_left()}). "
                f"Safe in {self._outbox.folder}; {self._later}"
            )

    def _why_left(self) -> str:
        if self._offline:
            return "W&B is offline"
        refusals = filter(None, map(refusal_of, self._left()))
        return next((refusal.reason for refusal in refusals), "it was ended")

    def _left_text(self) -> str:
        count = len(self._left())
        return "one checkpoint is not" if count == 1 else f"{count} checkpoints are not"

    def _left(self) -> list[Entry]:
        if self._sender is None:
            return []
        found = self._outbox.entries(self._sender.place.destination)
        return list(filter(self._sender.takes, found))

    def send(self, what: str) -> None:  # noqa: ARG002 - there is one key
        """For the courier: send what is left. Raises UploadFailed, or what send_all raises."""
        if self._sender is None:
            return
        if not self._has_claim:
            claim = self._outbox.draining(self._sender.place.destination)
            self._has_claim = self._claim.enter_context(claim)
            self._claim.callback(self._lose_claim)
        if not self._has_claim:
            raise UploadFailed(f"another process is sending to {self._destination}")
        self._sender.send_all(self._left(), self._outbox.confirm)

    def _lose_claim(self) -> None:
        self._has_claim = False


_uploads: weakref.WeakValueDictionary[tuple[int, str], WandbUploads] = weakref.WeakValueDictionary()


def uploads_of(run: Any) -> WandbUploads:
    """Return the uploads of a run, the same to all who ask: a run has one sender."""
    outbox = Outbox()
    key = (id(run), outbox.folder)
    found = _uploads.get(key)
    if found is None:
        found = _uploads[key] = WandbUploads(run, outbox)
    return found


def send_left(
    outbox: Outbox,
    destination: str,
    sent: Callable[[Entry], None],
    artifact: str | None = None,
) -> bool:
    """Send what is in the outbox for a run that no process has any more; sent hears of each.

    Returns whether it may: not so if the run's process lives, or another one is sending. Raises
    what Sender.send_all raises; what was sent until then is out of the outbox.
    """
    with outbox.draining(destination) as mine:
        if mine:
            left = [e for e in outbox.entries(destination) if artifact in (None, e.artifact)]
            for place, entries in _by_place(left).items():
                _send_group(outbox, place, entries, sent)
    return mine


def _by_place(entries: list[Entry]) -> dict[Place, list[Entry]]:
    """Sort entries of one destination by entity; what does not know its own goes with the rest."""
    entities = {place_of_entry(entry).entity for entry in entries} - {""}
    found: dict[Place, list[Entry]] = {}
    for entry in entries:
        place = place_of_entry(entry)
        if not place.entity and len(entities) == 1:
            place = replace(place, entity=next(iter(entities)))
        found.setdefault(place, []).append(entry)
    return found


def _send_group(
    outbox: Outbox, place: Place, entries: list[Entry], sent: Callable[[Entry], None]
) -> None:
    def confirmed(entry: Entry) -> None:
        outbox.confirm(entry)
        sent(entry)

    if not answers(place):
        raise Unreachable(f"{place.base_url} does not answer")
    with wandb_run.resumed(place) as run:
        Sender(run, place).send_all(entries, confirmed)

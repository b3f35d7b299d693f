"""A store in object storage as the place where checkpoints go: by way of the outbox.

Training and the writer use the disk only. A checkpoint is durable when it is in the outbox, and a
version when a courier has brought it to the store.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kept.errors import AccessDenied, Unreachable
from kept.store.content.find_files import find_sources
from kept.store.store import Store
from kept.sync.courier import Courier, Words
from kept.sync.mirror.mirrors import Mirrors
from kept.sync.outbox.deliver import Delivery
from kept.sync.outbox.outbox import Outbox
from kept.training.messages import print_text
from kept.training.monitor import best_in_store, best_value
from kept.training.naming import default_artifact_name, is_named
from kept.training.save.checkpoint_files import paths_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from kept.bucket.base import Bucket
    from kept.store.content.file_source import MemoryFile
    from kept.store.version import Version
    from kept.training.destinations.base import Describe, Files
    from kept.training.options import Options
    from kept.training.request import SaveRequest


class RemoteDestination:
    """A Destination for a store that may be out of reach at any time."""

    takes_files = True

    def __init__(
        self, where: Store | Bucket, options: Options, committed: Callable[[Version], None]
    ) -> None:
        """Look at the store; raises NotAStore, NewerFormat, BucketNotFound or AccessDenied.

        A server that does not answer is no error, unless there is something to be resumed.
        """
        self._committed = committed
        self._away: Unreachable | None = None
        try:
            self.store = where if isinstance(where, Store) else Store(where)
        except Unreachable as error:
            self._away = error
            self.store = Store(where, look=False)  # type: ignore[arg-type]  # a bucket
        self.location = self.store.location
        self.places = (self.location,)
        self._resumes = bool(options.resume)
        self._outbox = Outbox()
        self._delivery = Delivery(self.store, self._outbox, self)
        self._mirrors = Mirrors(self.store, options.mirror)
        later = f"the next run goes on, or: kept sync --outbox {self._outbox.folder}"
        words = Words(f"the store {self.location}", self._outbox.folder, later)
        self._courier = Courier(self, words, counts=True)
        self._files: Files = []

    @property
    def is_named(self) -> bool:
        """See Destination."""
        return is_named()

    def default_name(self) -> str:
        """See Destination."""
        return default_artifact_name()

    def begin(self, name: str) -> None:  # noqa: ARG002 - as Destination has it
        """Find out whether the store can be written, and send what an earlier run has left."""
        if self._away is None:
            try:
                self.store.create()
            except Unreachable as error:
                self._away = error
        if self._resumes:  # what is resumed from may be among that
            self._delivery.send(everything=True)
            self._resumes = False
        elif self._away is not None:
            self._tell_away(self._away)
        if self._delivery.left():
            self._courier.wake(self.location)

    def commit(self, due: SaveRequest, files: Files, describe: Describe) -> None:  # noqa: ARG002
        """Note what the checkpoint is made of; hand_over has all of it on the disk."""
        self._files = files

    def hand_over(
        self,
        due: SaveRequest,
        written: str,
        version: Version | None,  # noqa: ARG002 - as Destination has it
        describe: Describe,
    ) -> str:
        """Put the checkpoint in the outbox, durably, and have it sent."""
        pieces: list[MemoryFile | str] = [*paths_of(written)]
        found = find_sources([*pieces, *(f for f in self._files[1:] if f not in pieces)])
        files = {source.path: str(source.file) for source in found}
        label = {"type": "model", "aliases": list(due.aliases), "metadata": describe(None)}
        self._delivery.add(due.name, files, label, os.path.dirname(due.path))
        self._courier.wake(self.location)
        return f"on its way to {self.location}"

    def best(self, name: str, monitor: str, mode: str) -> float | None:
        """Return the best value, also of what has not arrived; what cannot be reached is left out.

        It is that of the newest checkpoint with the alias best, as in a store.
        """
        waiting = [entry.content for entry in self._delivery.left() if entry.artifact == name]
        for content in reversed(waiting):
            if "best" in content["aliases"]:
                return best_value(content["metadata"], monitor, mode)
        try:
            return best_in_store(self.store, name, monitor, mode)
        except (Unreachable, AccessDenied):  # training has begun, and is not ended by that
            return None

    def finish(self) -> None:
        """Wait as long as the store answers, and for its mirrors; tell what is left."""
        self._courier.finish()
        self._mirrors.finish()

    def send(self, what: str) -> None:  # noqa: ARG002 - as Courier has it
        """Send what waits for the store."""
        self._delivery.send(self._courier.told)

    def arrived(self, version: Version) -> None:
        """Have a version mirrored, and hand it on."""
        self._mirrors.begin(version.name)  # first: keep= leaves what a mirror still lacks
        self._committed(version)

    def _tell_away(self, error: Unreachable) -> None:
        print_text(
            f"kept: {error} Training goes on; checkpoints wait in {self._outbox.folder} until the "
            "store answers."
        )

"""A store in object storage as the place where checkpoints go, by way of the outbox.

The training thread and the writer thread use the disk only. A checkpoint is durable when it is in
the outbox, and a version when the courier has sent it to the store.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
from typing import TYPE_CHECKING

from kept.bucket.reach import PATIENCE, is_silent
from kept.errors import AccessDenied, StoreReplaced, Unreachable
from kept.messages import show, show_once
from kept.parallel import within
from kept.store.content.shared_file import SharedFile
from kept.store.store import Store
from kept.sync.courier import Courier, Words
from kept.sync.mirror.mirrors import Mirrors
from kept.sync.outbox.deliver import Delivery
from kept.sync.outbox.outbox import Outbox
from kept.training.destinations.base import Submitted
from kept.training.destinations.earlier import value_at
from kept.training.destinations.protected import check_unprotected
from kept.training.destinations.store import commit
from kept.training.naming import default_artifact_name, is_named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.bucket.base import Bucket
    from kept.store.version import Version
    from kept.sync.outbox.deliver import Arrivals
    from kept.sync.outbox.entry import Entry
    from kept.training.destinations.base import Checkpoint
    from kept.training.monitor import Metric
    from kept.training.options import Options

_PATIENCE = PATIENCE  # seconds that a hook waits for the store at most, except to resume


class RemoteDestination:
    """A Destination for a store that may be out of reach at any time."""

    has_outbox = True

    def __init__(self, given: Store | Bucket, options: Options, arrivals: Arrivals) -> None:
        """Look at the store; raises NotAStore, NewerFormat, BucketNotFound or AccessDenied.

        A server that does not answer is an error only if the fit resumes from the store.
        """
        self._arrivals = arrivals
        self._unreachable: Unreachable | None = None
        self._has_arrived = False  # whether the store has taken a version from this run
        self.store = given if isinstance(given, Store) else self._opened(given)
        self.location = self.store.location
        self.places = (self.location,)
        self._resumes = bool(options.resume)
        self._aliases = tuple(options.aliases)
        self._outbox = Outbox()
        self._delivery = Delivery(self.store, self._outbox, self)
        self._mirrors = Mirrors(self.store, options.mirror)
        later = f"the next run continues, or: kept sync --outbox {self._outbox.folder}"
        words = Words(f"the store {self.location}", self._outbox.folder, later)
        self._courier = Courier(self, words, counts=True, buckets=(self.store.bucket,))

    def _opened(self, bucket: Bucket) -> Store:
        """Return the store in a bucket, as it is known after a few seconds."""
        try:
            return within(_PATIENCE, lambda: Store(bucket))
        except Unreachable as error:
            self._unreachable = error
        except TimeoutError:  # begin asks again
            pass
        return Store(bucket, look=False)

    @property
    def is_named(self) -> bool:
        """See Destination."""
        return is_named()

    def check_sharded(self) -> None:
        """See Destination."""

    def default_name(self) -> str:
        """See Destination."""
        return default_artifact_name()

    def begin(self, artifact: str) -> None:  # noqa: ARG002 - as Destination has it
        """Find out whether the store can be written, and send what an earlier run left."""
        if self._unreachable is None:
            try:
                self._create()
                self._check_aliases()
            except Unreachable as error:
                self._unreachable = error
        if self._resumes:  # the version to resume from may wait in the outbox
            self._delivery.send(everything=True)
            self._resumes = False
        elif self._unreachable is not None:
            show(
                f"{self._unreachable} Training continues; checkpoints wait in "
                f"{self._outbox.folder} until the store answers."
            )
        if self._delivery.left():
            self._courier.wake(self.location)

    def _create(self) -> None:
        """Create the store; raises Unreachable if it has not answered for some seconds."""
        is_late = is_silent(self.store.bucket, _PATIENCE)
        if not is_late:
            try:
                within(_PATIENCE, self.store.create)
            except TimeoutError:
                is_late = True
        if is_late:
            raise Unreachable(f"{self.location} has not answered for {_PATIENCE:.0f} s.")

    def _check_aliases(self) -> None:
        """Raise InvalidCheckpoint for a protected alias, if the store says so in some seconds.

        Otherwise the delivery leaves the alias out.
        """
        if self._aliases:
            with contextlib.suppress(TimeoutError):
                within(_PATIENCE, lambda: check_unprotected(self.store, self._aliases))

    def history_step(self) -> int | None:
        """See Destination."""
        return None

    def submit(self, checkpoint: Checkpoint) -> Submitted:
        """Put the checkpoint into the outbox, durably, and have the courier send it.

        One whose bytes several processes hold is committed at once, because no disk has all of it.
        """
        request = checkpoint.request
        if any(isinstance(file, SharedFile) for file in checkpoint.files):
            return self._commit(checkpoint)
        files = {**checkpoint.on_disk(), **checkpoint.state_on_disk()}
        info = {
            "type": "model",
            "aliases": list(request.aliases),
            "metadata": checkpoint.metadata.complete(None),
            "contends": request.contends,
            "origin": request.origin.facts(),
        }
        self._delivery.add(request.artifact, files, info, os.path.dirname(request.target))
        self._courier.wake(self.location)
        return Submitted(None, f"on its way to {self.location}")

    def _commit(self, checkpoint: Checkpoint) -> Submitted:
        version = commit(self.store, checkpoint)
        self._has_arrived = True
        self._mirrors.begin(version.name)
        self._mirrors.wake(version.name)
        return Submitted(version, version.reference)

    def changed(self, artifact: str) -> None:
        """See Destination."""
        self._mirrors.wake(artifact)

    def best(self, artifact: str, metric: Metric) -> float | None:
        """Return the best value, also of checkpoints in the outbox; None if the store is away."""
        waiting = [e.info for e in self._delivery.left() if e.artifact == artifact]
        values = [metric.best_in(info["metadata"]) for info in waiting if info.get("contends")]
        values.append(self._stored_value(artifact, metric, {}))
        return metric.best_of(values)

    def value_at(self, artifact: str, files: Mapping[str, str], metric: Metric) -> float | None:
        """See Destination."""
        if not files:
            return None
        for entry in reversed(self._delivery.left()):
            if entry.artifact == artifact and _holds(entry, files):
                return metric.best_in(entry.info["metadata"])
        return self._stored_value(artifact, metric, files)

    def _stored_value(
        self, artifact: str, metric: Metric, files: Mapping[str, str]
    ) -> float | None:
        """Return the value of the version with these files, or without files that of the best.

        Returns None if the store does not answer, because training has begun and continues.
        """
        if self._unreachable is not None and not self._has_arrived:
            return None
        try:
            if files:
                return within(_PATIENCE, lambda: value_at(self.store, artifact, files, metric))
            return within(_PATIENCE, lambda: metric.best_in_store(self.store, artifact))
        except (TimeoutError, Unreachable, AccessDenied, StoreReplaced):
            return None

    def finish(self) -> None:
        """Wait as long as the store answers, and for its mirrors; report what is left."""
        self._courier.finish()
        self._mirrors.finish()

    def send(self, what: str) -> None:  # noqa: ARG002 - as the courier calls it
        """Deliver all checkpoints of the outbox; for the courier."""
        try:
            self._delivery.send(self._courier.count)
        except StoreReplaced as error:
            raise StoreReplaced(
                f"{error} To send what waits: kept sync --outbox {self._outbox.folder}"
            ) from error
        finally:
            for note in self._delivery.notes:
                show_once(note)

    def arrived(self, version: Version) -> None:
        """Pass on a version that the store has now; for the delivery."""
        self._has_arrived = True
        self._mirrors.begin(version.name)  # first, because keep= spares what a mirror lacks
        self._arrivals.arrived(version)


def _holds(entry: Entry, files: Mapping[str, str]) -> bool:
    held = {file.path: file.file for file in entry.files}
    try:
        return all(
            name in held and filecmp.cmp(held[name], path, shallow=False)
            for name, path in files.items()
        )
    except OSError:  # the courier has sent the entry meanwhile
        return False

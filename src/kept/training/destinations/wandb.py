"""The active run of W&B as the place where checkpoints go, with or without a store beside it.

The file is linked into the outbox before it gets its final name, so there is one copy of its bytes
on the disk at any time, and it stays there, whatever happens to the file, until W&B has it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidCheckpoint, UploadFailed
from kept.messages import show
from kept.store.content.manifest import manifest_key
from kept.store.rank.best import BEST, score_of
from kept.sync.wandb.sdk import active_run, check_run, place_of, step_of
from kept.sync.wandb.uploads import UploadInfo, uploads_of
from kept.training.destinations.base import Submitted
from kept.training.destinations.open import open_destination
from kept.training.destinations.store import StoreDestination
from kept.training.naming import artifact_name_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from kept.store.store import Store
    from kept.store.version import Version
    from kept.sync.outbox.deliver import Arrivals
    from kept.sync.outbox.entry import Entry
    from kept.sync.wandb.uploads import Waits
    from kept.training.destinations.base import Checkpoint, Destination
    from kept.training.monitor import Metric
    from kept.training.options import WandbOptions
    from kept.training.request import SaveRequest

_NEEDS_STORE = ("mirror", "resume", "state_of", "keep", "on_commit")
_METADATA_KEYS = 75  # W&B takes 100, and kept has up to 25 of its own


class WandbDestination:
    """See Destination."""

    has_outbox = True
    is_named = True

    def __init__(self, options: WandbOptions, arrivals: Arrivals) -> None:
        """Raises NoActiveRun, InvalidCheckpoint, or what opening the store raises."""
        self._given = options.run
        self._bind(self._current())
        _check_options(options)
        self._ttl: timedelta | None = options.ttl
        self._by_reference = options.reference
        self._stored = _stored(options, arrivals)
        self._best: Mapping[str, Any] | None = None  # metadata of the best version before the fit
        self.logged: list[Entry] = []

    @property
    def location(self) -> str:
        """See Destination."""
        return self._label

    @property
    def places(self) -> tuple[str, ...]:
        """See Destination."""
        return (self._label, *(self._stored.places if self._stored else ()))

    @property
    def store(self) -> Store | None:
        """See Destination."""
        return self._stored.store if self._stored else None

    def check_sharded(self) -> None:
        """See Destination."""
        if not self._by_reference:
            raise InvalidCheckpoint(
                "W&B takes whole files, and no process has all weights of this model: they are "
                "sharded across processes. Pass a store in object storage, and reference=True, so "
                "that W&B refers to its versions. "
                f"Received: store={self.store and self.store.location!r}, reference=False"
            )

    def default_name(self) -> str:
        """Return the name that W&B's callback has for it, for the run of this fit.

        Raises NoActiveRun.
        """
        run = self._current()
        if run is not self._run:
            self._bind(run)
        return artifact_name_of(str(run.id))

    def wait_for(self, writer: Waits) -> None:
        """See WandbUploads."""
        self._uploads.wait_for(writer)

    def begin(self, artifact: str) -> None:
        """See Destination."""
        if self._stored is not None:
            self._stored.begin(artifact)
        self._best = self._best_of(artifact)
        self._uploads.begin()

    def history_step(self) -> int | None:
        """See Destination."""
        return step_of(self._run)

    def submit(self, checkpoint: Checkpoint) -> Submitted:
        """Commit a version to the store, if there is one, and put the checkpoint into the outbox.

        An error of the outbox after the commit is part of the result, because the version stays.
        """
        if self._stored is None:
            return Submitted(None, self._upload(checkpoint, None))
        submitted = self._stored.submit(checkpoint)
        try:
            self._upload(checkpoint, submitted.version)
        except BaseException as error:  # noqa: BLE001 - the saver raises it
            return replace(submitted, error=error)
        return submitted

    def changed(self, artifact: str) -> None:
        """See Destination."""
        if self._stored is not None:
            self._stored.changed(artifact)

    def best(self, artifact: str, metric: Metric) -> float | None:
        """See Destination."""
        if self._stored is not None:
            return self._stored.best(artifact, metric)
        return metric.best_in(self._best) if self._best else None

    def value_at(self, artifact: str, files: Mapping[str, str], metric: Metric) -> float | None:
        """Return the best value also for a run that W&B resumes: its training continues."""
        if self._stored is not None:
            return self._stored.value_at(artifact, files, metric)
        continues = self._run.resumed or self._uploads.is_newest_best(artifact, files)
        return metric.best_in(self._best) if self._best and continues else None

    def finish(self) -> None:
        """See Destination."""
        self._uploads.finish()
        if self._stored is not None:
            self._stored.finish()

    def _upload(self, checkpoint: Checkpoint, version: Version | None) -> str:
        """Put the checkpoint into the outbox; return what it is now."""
        request, metadata = checkpoint.request, checkpoint.metadata
        info = UploadInfo(
            request.artifact,
            aliases=list(dict.fromkeys(["latest", *request.aliases, *self._best_alias(request)])),
            metadata=metadata.complete(None) if version is None else self._metadata(version),
            ttl=self._ttl,
            references=self._references(version),
            history_step=request.history_step,
        )
        files = {} if self._by_reference else checkpoint.on_disk()
        lasting = os.path.dirname(request.target)
        entry = self._uploads.add(info, files, lasting)
        if entry is None:
            return "not logged, W&B is disabled"
        self.logged.append(entry)
        return f"{request.artifact} in {self._label}"

    def _best_alias(self, request: SaveRequest) -> list[str]:
        """Return the alias best if the metric beats that of the run's best version so far."""
        score = score_of(request.metadata) if request.contends else None
        held = score_of(self._best or {})
        if score is None or (score.is_same_metric(held) and not score.beats(held)):
            return []
        self._best = request.metadata
        return [BEST]

    def _best_of(self, name: str) -> Mapping[str, Any] | None:
        try:
            return self._uploads.best(name)
        except UploadFailed as error:
            show(f"the best value of {name} so far is not known, so the next one counts: {error}")
            return None

    def _current(self) -> Any:
        return active_run() if self._given is None else check_run(self._given)

    def _bind(self, run: Any) -> None:
        self._run = run
        self._uploads = uploads_of(run)
        place = place_of(run)
        self._label = f"the W&B run {place.label}" if place else "W&B (disabled)"

    @staticmethod
    def _metadata(version: Version) -> dict[str, Any]:
        return version.metadata | {
            "kept_store": version.store.location,
            "kept_version": version.reference,
            "kept_digest": version.digest,
            **({"kept_uses": list(map(str, version.uses))} if version.uses else {}),
        }

    def _references(self, version: Version | None) -> dict[str, str]:
        if not self._by_reference or version is None:
            return {}
        key = manifest_key(version.record.manifest)
        return {"kept-manifest.json": f"{version.store.location}/{key}"}


def _check_options(options: WandbOptions) -> None:
    if len(options.metadata or {}) > _METADATA_KEYS:
        raise InvalidCheckpoint(
            f"W&B takes at most 100 keys of metadata, some of which are kept's; pass at most "
            f"{_METADATA_KEYS}, or put them into one dict. "
            f"Received: metadata with {len(options.metadata or {})} keys"
        )
    if options.store is not None:
        return
    if options.uses:
        raise InvalidCheckpoint(
            "uses= needs a store, which records what its versions use. W&B records what "
            f"run.use_artifact takes. Pass store= too. Received: uses={options.uses!r}, store=None"
        )
    needed = [*_NEEDS_STORE, *(["keep_local"] if options.local_rule else [])]
    for name in needed:
        if (value := getattr(options, name)) not in (None, False):
            raise InvalidCheckpoint(
                f"{name} needs a store, which holds what W&B does not. Pass store= too: a folder, "
                f"or s3://bucket/prefix. Received: {name}={value!r}, store=None"
            )


def _stored(options: WandbOptions, arrivals: Arrivals) -> Destination | None:
    if options.store is None and not options.reference:
        return None
    if not options.reference:
        return open_destination(options, arrivals)
    # A version that W&B refers to has to be there before, so it is not sent by way of the outbox.
    stored = StoreDestination(options) if options.store is not None else None
    if stored is None or not stored.store.bucket.is_remote:
        received = "store=None" if stored is None else f"store={stored.location!r}"
        raise InvalidCheckpoint(
            "reference=True has W&B refer to a version in object storage, so it needs store= there "
            "(s3://, gs:// or az://). With a store on this machine, leave reference out. "
            f"Received: reference=True, {received}"
        )
    return stored

"""A store as the place where checkpoints go, with its mirrors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kept.store.open import open_store
from kept.store.store import Store
from kept.sync.mirror.mirrors import Mirrors
from kept.training.destinations.base import Submitted
from kept.training.destinations.earlier import value_at
from kept.training.destinations.protected import announce_withheld, check_unprotected
from kept.training.naming import default_artifact_name, is_named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.store.version import Version
    from kept.training.destinations.base import Checkpoint
    from kept.training.monitor import Metric
    from kept.training.options import Options


class StoreDestination:
    """See Destination."""

    has_outbox = False

    def __init__(self, options: Options) -> None:
        """Open the store; raises NotAStore, NewerFormat or InvalidInput."""
        self.store = open_given(options.store)
        self.location = self.store.location
        self.places = (self.location,)
        self._mirrors = Mirrors(self.store, options.mirror)
        self._aliases = tuple(options.aliases)

    @property
    def is_named(self) -> bool:
        """See Destination."""
        return is_named()

    def check_sharded(self) -> None:
        """See Destination."""

    def default_name(self) -> str:
        """See Destination."""
        return default_artifact_name()

    def begin(self, artifact: str) -> None:
        """See Destination."""
        self.store.create()
        check_unprotected(self.store, self._aliases)
        self._mirrors.begin(artifact)

    def history_step(self) -> int | None:
        """See Destination."""
        return None

    def submit(self, checkpoint: Checkpoint) -> Submitted:
        """See Destination."""
        version = commit(self.store, checkpoint)
        self._mirrors.wake(version.name)
        return Submitted(version, version.reference)

    def changed(self, artifact: str) -> None:
        """See Destination."""
        self._mirrors.wake(artifact)

    def best(self, artifact: str, metric: Metric) -> float | None:
        """See Destination."""
        return metric.best_in_store(self.store, artifact)

    def value_at(self, artifact: str, files: Mapping[str, str], metric: Metric) -> float | None:
        """See Destination."""
        return value_at(self.store, artifact, files, metric) if files else None

    def finish(self) -> None:
        """See Destination."""
        self._mirrors.finish()


def open_given(store: Any) -> Store:
    """Return the store of the option store=; raises NotAStore, NewerFormat or InvalidInput."""
    return store if isinstance(store, Store) else open_store(store)


def commit(store: Store, checkpoint: Checkpoint) -> Version:
    """Make a checkpoint a version."""
    request = checkpoint.request
    version = store.log_artifact(
        request.artifact,
        checkpoint.files,
        aliases=request.aliases,
        metadata=checkpoint.metadata,
        capture=request.origin,
    )
    announce_withheld(version)
    return version

"""A store as the place where checkpoints go, with its mirrors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.store.open import open_store
from kept.store.store import Store
from kept.sync.mirror.mirrors import Mirrors
from kept.training.monitor import best_in_store
from kept.training.naming import default_artifact_name, is_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from kept.store.version import Version
    from kept.training.destinations.base import Describe, Files
    from kept.training.options import Options
    from kept.training.request import SaveRequest


class StoreDestination:
    """A store, and its mirrors."""

    takes_files = False

    def __init__(self, options: Options, committed: Callable[[Version], None]) -> None:
        """Open the store; raises NotAStore, NewerFormat or InvalidInput."""
        self._committed = committed
        given = options.store
        self.store = given if isinstance(given, Store) else open_store(given)
        self.location = self.store.location
        self.places = (self.location,)
        self._mirrors = Mirrors(self.store, options.mirror)

    @property
    def is_named(self) -> bool:
        """See Destination."""
        return is_named()

    def default_name(self) -> str:
        """See Destination."""
        return default_artifact_name()

    def begin(self, name: str) -> None:
        """See Destination."""
        self.store.create()
        self._mirrors.begin(name)

    def commit(self, due: SaveRequest, files: Files, describe: Describe) -> Version:
        """See Destination."""
        version = self.store.log_artifact(due.name, files, aliases=due.aliases, metadata=describe)
        self._committed(version)
        self._mirrors.wake(due.name)
        return version

    def hand_over(
        self,
        due: SaveRequest,  # noqa: ARG002 - as Destination has it
        written: str,  # noqa: ARG002
        version: Version | None,
        describe: Describe,  # noqa: ARG002
    ) -> str:
        """See Destination; the store has the checkpoint already."""
        return version.reference if version else ""

    def finish(self) -> None:
        """See Destination."""
        self._mirrors.finish()

    def best(self, name: str, monitor: str, mode: str) -> float | None:
        """See Destination."""
        return best_in_store(self.store, name, monitor, mode)

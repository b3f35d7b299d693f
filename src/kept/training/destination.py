"""Where a callback's checkpoints go: a store with its mirrors, or what else keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from kept.mirrors.background import Mirrors
from kept.store.opening import open_bucket, open_store
from kept.store.store import Store
from kept.training.messages import print_text
from kept.training.monitor import best_in_store
from kept.training.run import default_artifact_name, is_named

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kept.store.content import MemoryFile
    from kept.store.version import Version
    from kept.training.due import Due
    from kept.training.options import Options

    Files = Sequence[MemoryFile | str]  # in memory, or paths on the disk
    Describe = Callable[[int | None], dict[str, Any]]  # bytes new to the store -> the metadata


class Destination(Protocol):
    """Takes checkpoints, in order, on the thread that saves them."""

    @property
    def location(self) -> str:
        """A place, for messages."""

    @property
    def store(self) -> Store | None:
        """The store, if there is one."""

    @property
    def takes_files(self) -> bool:
        """Whether hand_over needs the checkpoint's file."""

    @property
    def places(self) -> Sequence[str]:
        """Where checkpoints go; no two callbacks of a fit log to one artifact in the same."""

    @property
    def is_named(self) -> bool:
        """Whether an artifact with the default name can have been begun in an earlier process."""

    def default_name(self) -> str:
        """For on_train_begin: return the artifact's name, if none is given."""

    def begin(self, name: str) -> None:
        """For on_train_begin: find out now whether the artifact can be written."""

    def commit(self, due: Due, files: Files, describe: Describe) -> Version | None:
        """Commit files as a version; return None where there is no store."""

    def hand_over(self, due: Due, written: str, version: Version | None, describe: Describe) -> str:
        """Take the checkpoint before its file gets its final name.

        written is where the file is, on the disk, if the destination takes files.

        Returns what the user is told that the checkpoint is now.
        """

    def best(self, name: str, monitor: str, mode: str) -> float | None:
        """Return the value of the artifact's best version, None if there is none by the metric."""

    def finish(self) -> None:
        """For on_train_end: wait a while for what is sent on from here."""


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
        self._mirrors = Mirrors(self.store, options.mirror, print_text)

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

    def commit(self, due: Due, files: Files, describe: Describe) -> Version:
        """See Destination."""
        version = self.store.log_artifact(due.name, files, aliases=due.aliases, metadata=describe)
        self._committed(version)
        self._mirrors.wake(due.name)
        return version

    def hand_over(
        self,
        due: Due,  # noqa: ARG002 - as Destination has it
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


def destination_of(options: Options, committed: Callable[[Version], None]) -> Destination:
    """Return where the options say that checkpoints go; committed is told each version.

    Raises NotAStore, NewerFormat, RemoteError or InvalidInput.
    """
    given = options.store
    bucket = given.bucket if isinstance(given, Store) else open_bucket(given)
    if bucket.is_remote:
        from kept.training.remote_destination import RemoteDestination

        return RemoteDestination(given if isinstance(given, Store) else bucket, options, committed)
    return StoreDestination(options, committed)

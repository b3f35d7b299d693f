"""Where a callback's checkpoints go: the contract that every destination keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kept.store.content.file_source import MemoryFile
    from kept.store.store import Store
    from kept.store.version import Version
    from kept.training.request import SaveRequest

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

    def commit(self, due: SaveRequest, files: Files, describe: Describe) -> Version | None:
        """Commit files as a version; return None where there is no store."""

    def hand_over(
        self, due: SaveRequest, written: str, version: Version | None, describe: Describe
    ) -> str:
        """Take the checkpoint before its file gets its final name.

        written is where the file is, on the disk, if the destination takes files.

        Returns what the user is told that the checkpoint is now.
        """

    def best(self, name: str, monitor: str, mode: str) -> float | None:
        """Return the value of the artifact's best version, None if there is none by the metric."""

    def finish(self) -> None:
        """For on_train_end: wait a while for what is sent on from here."""

"""A file in memory of which other processes hold parts.

Its borders are known in this process, and so are the digests of all large parts. The process that
holds a part stores it. So no process needs the memory of the whole file, and the version is the
same as if one process had stored it.
"""

from __future__ import annotations

import bisect
import itertools
from typing import TYPE_CHECKING, NamedTuple, Protocol

from kept.digest import digest
from kept.errors import InvalidPath
from kept.store.content.chunking import cut
from kept.store.content.file_source import MemoryFile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from kept.bucket.base import Buffer

Place = tuple[str, int]  # blob, offset


class Part(NamedTuple):
    """A range of a file whose digest is known."""

    digest: str
    data: memoryview  # its bytes; memory of the same size, if another process has them
    holder: int = 0  # the rank of the process that has them, 0 for this one

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self.data)

    @property
    def is_remote(self) -> bool:
        """Whether another process has the bytes."""
        return self.holder != 0


class Stored(NamedTuple):
    """What a process stored."""

    places: Mapping[str, Place]  # by the digests of chunks
    bytes_new: int  # raw bytes of the blobs that were not in the store
    written: Collection[str]  # these blobs


class Holders(Protocol):
    """The other processes that hold parts of a file."""

    def ask(self, wanted: Mapping[int, Sequence[str]], condemned: Collection[str]) -> None:
        """Ask each process to store the parts with these digests; return at once.

        None of them gets a condemned key. An answer to an earlier request is not read.
        """

    def answers(self) -> Iterable[Stored]:
        """Return what each process has stored, durably; raises SaveFailed or RankMissing."""

    def at_work(self) -> None:
        """Note that this process makes progress, so that the others continue to wait for it."""


class SharedFile(MemoryFile):
    """See the module. A remote part is a chunk of its own, or storing the file fails."""

    def __init__(self, name: str, parts: Iterable[Buffer | Part], holders: Holders) -> None:
        given = [*parts]
        super().__init__(name, (one.data if isinstance(one, Part) else one for one in given))
        self.holders = holders
        ends = [
            *itertools.accumulate(one.size if isinstance(one, Part) else len(one) for one in given)
        ]
        found = zip([0, *ends], given, strict=False)
        self._known = {start: one for start, one in found if isinstance(one, Part)}
        self._remote = [start for start, one in self._known.items() if one.is_remote]

    @property
    def known(self) -> Iterable[Part]:
        """The parts whose digests are known, in order."""
        return self._known.values()

    @property
    def parts(self) -> list[memoryview]:
        """Raises InvalidPath if another process has some of the bytes."""
        if self._remote:
            self._check_here(0, self.size)
        return super().parts

    def read(self, start: int, stop: int) -> Buffer:
        """Return a range of the bytes; raises InvalidPath if another process has some of them."""
        self._check_here(start, stop)
        return super().read(start, stop)

    def chunks(self) -> Iterator[Part]:
        """Yield the chunks of the file; raises InvalidPath unless each remote part is one chunk."""
        for start, stop in cut(_Outline(self)):
            part = self._known.get(start)
            if part is None or part.size != stop - start:
                data = memoryview(self.read(start, stop))
                part = Part(digest(data), data)
            yield part

    def _check_here(self, start: int, stop: int) -> None:
        index = bisect.bisect_right(self._remote, start) - 1
        for begin in self._remote[max(index, 0) :]:
            part = self._known[begin]
            if begin < stop and start < begin + part.size:
                raise InvalidPath(
                    f"Bytes {begin} to {begin + part.size} of {self.name} are in the process of "
                    f"rank {part.holder}, which can store them as one chunk only. "
                    f"Received: bytes {start} to {stop}"
                )
            if begin >= stop:
                return


class _Outline:
    """The file for readers of its metadata only, who may read some bytes of tensors, too.

    HDF5 reads the head of an object with some bytes behind it. Remote ones have any values.
    """

    def __init__(self, file: SharedFile) -> None:
        self._file = file

    @property
    def size(self) -> int:
        return self._file.size

    def read(self, start: int, stop: int) -> Buffer:
        return MemoryFile.read(self._file, start, stop)

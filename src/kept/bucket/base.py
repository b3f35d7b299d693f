"""The protocol of the byte layer: the calls that a store makes to the place of its bytes.

Keys are relative paths of ASCII letters, digits, dot, hyphen and underscore with / between the
parts. A key is never also the folder of other keys. Values are bytes, passed as a sequence of
buffers that are stored one after the other, so that a header and a large array need no copy to
become one value.

tests/bucket/bucket_contract.py checks every sentence of the docstrings for every bucket.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from kept.bucket.transfer import Transfer

_NO_KEY = re.compile(r"[^A-Za-z0-9._-]")

Buffer = bytes | bytearray | memoryview
Parts = Sequence[Buffer]


def size_of(parts: Parts) -> int:
    """Return the number of bytes of a value."""
    return sum(memoryview(part).nbytes for part in parts)


def is_key(name: str) -> bool:
    """Return whether a name (one part of a path) has only the characters of keys."""
    return not _NO_KEY.search(name)


class Item(NamedTuple):
    """A key, and the facts of its value that a listing returns."""

    key: str
    size: int  # bytes
    stored: float  # time of the last put: seconds since 1970, by the bucket's own clock


class Bucket(Protocol):
    """Flat keys to bytes. All methods may be called from many threads and processes at once."""

    @property
    def location(self) -> str:
        """The folder or URL of the bucket, in the form open_store takes; without credentials."""

    @property
    def is_remote(self) -> bool:
        """Whether each call is a request over a network, so that callers save requests.

        Such a bucket keeps each stored value whole, so callers need not check it again.
        """

    @property
    def concurrency(self) -> int:
        """How many small requests callers make at once; 1 if calls do not wait for a network."""

    def put(self, key: str, parts: Parts) -> None:
        """Store a value, durably and atomically, and replace the previous value of the key.

        Raises OSError, which names the file, and NotDurable if the value is stored, but a power cut
        can remove it. In a folder it also replaces what is no file (a FIFO, a link), but raises
        Unreadable if a folder lies at the path.
        """

    def put_many(
        self, items: Iterable[tuple[str, Parts]], transfer: Transfer | None = None
    ) -> None:
        """Store several values as put does; all are durable on return.

        A transfer counts the bytes as they are stored. The bucket takes few items at a time from
        the iterable, so not all buffers are in memory at once. After a crash or an error any
        subset may be stored, each value whole.
        """

    def put_if_absent(self, key: str, parts: Parts) -> None:
        """Store a value as put does if the key has none, otherwise raise KeyExists.

        Of any number of racing calls for one key at most one succeeds. NotDurable means that this
        call has stored the value; after any other error it has not, except RemoteError, which can
        mean that the answer was lost.
        """

    def get(self, key: str, start: int = 0, length: int | None = None) -> Buffer:
        """Return the value, or length bytes of it from start (fewer if it ends sooner).

        The type of the buffer varies, because the bucket does not copy a large value. Raises
        KeyNotFound, or Unreadable if the disk cannot read the value, or something else than a file
        lies in its place. It never waits for one.
        """

    def size(self, key: str) -> int | None:
        """Return the value's length in bytes, or None if the key is missing; raises Unreadable.

        If a length is returned, the value is durable, whichever process stored it, because callers
        build upon it.
        """

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        """Yield the keys below a folder, in ascending order; prefix is '' or ends in '/'.

        Only keys greater than after are yielded, which saves time: one reading of the folder, or a
        listing that starts there. Below a folder, names that no key can have are left out
        (`@eaDir`). Others' files can have names like keys (`.DS_Store`), so callers filter by the
        form of their own keys. A listing of the whole bucket has all names, so that it shows
        whether the place holds anything. Raises Unreadable if a folder cannot be read, and
        Unreachable if a server answers with something else than the list, such as an error page.
        """

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        """Yield the names directly below a folder that are greater than after, in ascending order.

        These are the last parts of keys, and the names of folders: so a folder in the place of a
        value is noticed. A folder without a key may be among them. Otherwise as keys.
        """

    def items(self, prefix: str, after: str = "") -> Iterator[Item]:
        """Yield the keys as keys does, with the length of each value and the time of its last put.

        The times may be cut to whole seconds. Compare them only with each other, not with the clock
        of this machine. What is no value (a FIFO) is listed, too; its size means nothing.
        """

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the names (without /) of the folders directly below a folder, in ascending order.

        A folder exists as long as a key below it exists. Names are left out as keys leaves them
        out.
        """

    def delete(self, key: str) -> None:
        """Delete a key; a missing key is no error."""

    def move(self, key: str, target: str) -> None:
        """Give the value of a key another key, durably; raises KeyNotFound and KeyExists.

        It replaces no value. But in object storage one that another process stores under target at
        the same moment can be replaced, so callers choose a target that no other process uses. In a
        folder it moves whatever lies at the path, also what cannot be read and what is no file.
        """

    def spending_reserve(self) -> AbstractContextManager[None]:
        """Let the writes of this thread use room that the bucket holds back, if the disk is full.

        Only for calls that free room. A disk with room gets the reserve back afterwards.
        """

    def locked(self, name: str, *, wait: bool = False) -> AbstractContextManager[bool]:
        """Hold the lock of that name, which one thread of one process can hold at a time.

        Yields whether it is held. It is not held if another thread has it and wait is False, and
        never without locks (object storage, some network file systems). The end of the process
        releases it.
        """

"""The vocabulary of the byte layer: what a store asks of the place where its bytes lie.

Keys are relative paths of ASCII letters, digits, dot, hyphen and underscore with / between the
parts. Values are bytes, handed over as a sequence of buffers that are stored one after the other,
so that a header and a large array need no copy to become one value.

Every sentence of the docstrings is checked by tests/bucket/bucket_contract.py for every bucket.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from kept.bucket.transfer import Transfer

Buffer = bytes | bytearray | memoryview
Parts = Sequence[Buffer]


def size_of(parts: Parts) -> int:
    """Return how many bytes a value has."""
    return sum(memoryview(part).nbytes for part in parts)


class Item(NamedTuple):
    """A key, and what a listing tells of its value."""

    key: str
    size: int  # bytes
    stored: float  # when it was last put: seconds since 1970, by the clock of the place itself


class Bucket(Protocol):
    """Flat keys to bytes. All methods may be called from many threads and processes at once."""

    @property
    def location(self) -> str:
        """Where the bucket is, in the form open_store takes; without credentials."""

    @property
    def is_remote(self) -> bool:
        """Whether each call is a request over a network: worth saving, or making side by side.

        What such a bucket has once stored it keeps whole, so that need not be asked again.
        """

    @property
    def concurrency(self) -> int:
        """How many small requests to make at once; 1 if calls do not wait for a network."""

    def put(self, key: str, parts: Parts) -> None:
        """Store a value, durably and atomically, in place of what the key held before."""

    def put_many(
        self, items: Iterable[tuple[str, Parts]], transfer: Transfer | None = None
    ) -> None:
        """Store several values as put does; all are durable on return.

        A transfer is told the bytes as they are stored.
        The iterable is consumed as room allows, so its buffers need not all be in memory at once.
        In a crash or an error any subset may have been stored, each whole.
        """

    def put_if_absent(self, key: str, parts: Parts) -> None:
        """Store a value as put does if the key has none, otherwise raise KeyExists.

        Of any number of racing calls for one key at most one succeeds.
        """

    def get(self, key: str, start: int = 0, length: int | None = None) -> Buffer:
        """Return the value, or length bytes of it from start (fewer where it ends sooner).

        It comes in whatever memory it arrived in, so that a large one is not copied. Raises
        KeyNotFound.
        """

    def size(self, key: str) -> int | None:
        """Return the value's length in bytes, or None if there is no such key.

        A value whose length is returned is durable, whoever stored it: others build upon it.
        """

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys below a folder, in ascending order; prefix is '' or ends in '/'."""

    def items(self, prefix: str) -> Iterator[Item]:
        """Yield what keys yields, with the length of each value and when it was last put.

        The times may be cut to whole seconds. They compare with each other, and not with the clock
        of this machine.
        """

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the names (without /) of the folders right below a folder, in ascending order.

        A folder is there as long as there is a key below it.
        """

    def delete(self, key: str) -> None:
        """Delete a key; one that is not there is no error."""

    def locked(self, name: str, *, wait: bool = False) -> AbstractContextManager[bool]:
        """Hold the lock of that name, which one thread of one process can have at a time.

        Yields whether it is held: it is not if another one has it and wait is False, and never
        where there are no locks (object storage, some network file systems). It ends with the
        process that holds it.
        """

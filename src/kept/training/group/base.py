"""The processes that train one model together, and the small values that they exchange.

A group has `size` processes, with the ranks 0 to size - 1. Rank 0, the first rank, decides for all.
All values travel over a Transport, a key-value store that all processes reach: that of
jax.distributed, of torch.distributed, of TensorFlow's cluster, or the user's own.

Invariant: all processes make the same calls of one Channel in the same order. So the number of the
call is the number of the message, and no call needs an answer before it sends. Each wait has a time
limit, and its error names the ranks that did not send.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Protocol

from kept.errors import RankMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

Json = Any

LIMIT = 60.0  # seconds that a process waits for the others
_PART = 512 * 1024  # bytes of one value of a transport, which may limit them
# By transport, rank and the name of a series: channels of this process with messages left.
_series: defaultdict[tuple[str, int, str], list[Channel]] = defaultdict(list)


class Transport(Protocol):
    """A key-value store that all processes of a run reach; threads may use it side by side.

    A key is set once. Values have up to 512 KiB.
    """

    rank: int
    size: int
    label: str  # for messages: "jax.distributed"

    def set(self, key: str, value: bytes, /) -> None:
        """Set a key; return at once. Raises OSError or RuntimeError if the store is gone."""

    def get(self, key: str, seconds: float, /) -> bytes:
        """Return the value of a key; wait for up to some seconds. Raises TimeoutError.

        With 0 seconds it does not wait.
        """

    def delete(self, key: str, /) -> None:
        """Delete a key, if the store can; a missing one is fine."""


class Group:
    """The processes of one run, seen from one of them."""

    def __init__(self, transport: Transport, *, seconds: float = LIMIT) -> None:
        """Take the transport, and the time limit of each wait."""
        self.transport = transport
        self.rank, self.size = transport.rank, transport.size
        self.seconds = seconds

    @property
    def is_first(self) -> bool:
        """Whether this process decides for all."""
        return self.rank == 0

    @property
    def others(self) -> range:
        """The ranks after the first one."""
        return range(1, self.size)

    def channel(self, name: str) -> Channel:
        """Return a new channel; all processes use the same name, and each name once."""
        return Channel(self, f"kept/{name}")

    def in_series(self, series: str, channel: Channel) -> Channel:
        """Make a channel the next one of a series, and return it; see delete_before."""
        _series[self.transport.label, self.rank, series].append(channel)
        return channel

    def delete_before(self, channel: Channel, series: str) -> None:
        """Delete what this process has sent on the channels of a series before this one.

        Its caller knows that all others have read it, or never will: each has sent something that
        it sends only after its work with those channels.
        """
        opened = _series[self.transport.label, self.rank, series]
        while opened[0] is not channel:
            opened.pop(0).sent_all_read()


class Channel:
    """Messages in one order, between the processes of a group; one thread at a time uses it."""

    def __init__(self, group: Group, name: str) -> None:
        self.group, self._name = group, name
        self._number = 0
        self._own: list[tuple[int, str, int]] = []  # number of the call, key, parts: not deleted

    def send(self, value: Json) -> None:
        """Send this rank's next message to all that receive; one rank of a channel calls it."""
        self._set(self._next(), str(self.group.rank), value)

    def receive(self, what: str, seconds: float | None = None, rank: int = 0) -> Json:
        """Return the next message of the rank that sends.

        what says in the error what this process waits for. Raises RankMissing.
        """
        return self._get(self._next(), [rank], what, seconds)[0][0]

    def sent_all_read(self) -> None:
        """Delete the messages that this rank has sent; its caller knows that all are read."""
        self._forget(self._number + 1)

    def broadcast(self, value: Json, what: str, seconds: float | None = None) -> Json:
        """Return the first rank's value on all ranks; the others pass None. Raises RankMissing."""
        if self.group.is_first:
            self.send(value)
            return value
        return self.receive(what, seconds)

    def gather(self, value: Json, what: str, seconds: float | None = None) -> list[Json]:
        """Return the values of all ranks, in their order, on all ranks. Raises RankMissing."""
        number, rank = self._next(), self.group.rank
        self._set(number, str(rank), value)
        ranks = [one for one in range(self.group.size) if one != rank]
        found = [one for one, _ in self._get(number, ranks, what, seconds)]
        self._forget(number)  # every process has sent, so it has all messages before this one
        return [*found[:rank], value, *found[rank:]]

    def collect(self, value: Json, what: str, seconds: float | None = None) -> list[Json]:
        """Return the values of all ranks on the first one; on the others [] at once.

        Raises RankMissing.
        """
        number, rank = self._next(), self.group.rank
        if not self.group.is_first:
            self._set(number, str(rank), value)
            return []
        found = self._get(number, self.group.others, what, seconds)
        for one, (_, parts) in zip(self.group.others, found, strict=True):
            self._delete(self._key(number, str(one)), parts)
        return [value, *(one for one, _ in found)]

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _key(self, number: int, rank: str) -> str:
        return f"{self._name}/{number}/{rank}"

    def _set(self, number: int, rank: str, value: Json) -> None:
        data = json.dumps(value, separators=(",", ":")).encode()
        parts = [data[start : start + _PART] for start in range(0, len(data), _PART)]
        key = self._key(number, rank)
        transport = self.group.transport
        for index, part in enumerate(parts[1:], 1):
            transport.set(f"{key}/{index}", part)
        transport.set(key, b"%d " % len(parts) + parts[0])  # last, so that a reader finds all parts
        self._own.append((number, key, len(parts)))

    def _get(
        self, number: int, ranks: Sequence[int], what: str, seconds: float | None
    ) -> list[tuple[Json, int]]:
        """Return the message of each of these ranks, and its number of parts."""
        end = time.monotonic() + (self.group.seconds if seconds is None else seconds)
        found, missing = [], []
        for rank in ranks:
            try:
                found.append(self._read(self._key(number, str(rank)), end))
            except TimeoutError:
                missing.append(rank)
        if missing:
            raise RankMissing(missing, self.group.rank, self.group.size, what)
        return found

    def _read(self, key: str, end: float) -> tuple[Json, int]:
        def get(one: str) -> bytes:
            return self.group.transport.get(one, max(end - time.monotonic(), 0.0))

        count, _, first = get(key).partition(b" ")
        more = [get(f"{key}/{index}") for index in range(1, int(count))]
        return json.loads(b"".join([first, *more])), int(count)

    def _forget(self, number: int) -> None:
        """Delete the messages of this process before a number; all others have read them."""
        done = [one for one in self._own if one[0] < number]
        self._own = [one for one in self._own if one[0] >= number]
        for _, key, parts in done:
            self._delete(key, parts)

    def _delete(self, key: str, parts: int) -> None:
        """Delete a message."""
        self.group.transport.delete(key)
        for index in range(1, parts):
            self.group.transport.delete(f"{key}/{index}")

"""A bucket in this process's memory, for tests and experiments."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from kept.bucket.base import Item, size_of
from kept.errors import KeyExists, KeyNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.bucket.base import Parts
    from kept.bucket.transfer import Transfer


class MemoryBucket:
    """A Bucket that keeps its values in a dict; they end with the object."""

    location = "memory:"
    is_remote = False
    concurrency = 1

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._stored: dict[str, float] = {}
        self._lock = threading.Lock()
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def put(self, key: str, parts: Parts) -> None:
        value = b"".join(parts)
        with self._lock:
            self._keep(key, value)

    def put_many(
        self, items: Iterable[tuple[str, Parts]], transfer: Transfer | None = None
    ) -> None:
        for key, parts in items:
            self.put(key, parts)
            if transfer:
                transfer.moved(size_of(parts))

    def put_if_absent(self, key: str, parts: Parts) -> None:
        value = b"".join(parts)
        with self._lock:
            if key in self._values:
                raise KeyExists(f"The key exists already. Received: {key!r}")
            self._keep(key, value)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        with self._lock:
            value = self._values.get(key)
        if value is None:
            raise self._missing(key)
        return value[start:] if length is None else value[start : start + length]

    def size(self, key: str) -> int | None:
        with self._lock:
            value = self._values.get(key)
        return None if value is None else len(value)

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        with self._lock:
            keys = sorted(key for key in self._values if key.startswith(prefix) and key > after)
        yield from keys

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        found = {key[len(prefix) :].partition("/")[0] for key in self.keys(prefix)}
        yield from sorted(name for name in found if name > after)

    def items(self, prefix: str, after: str = "") -> Iterator[Item]:
        with self._lock:
            found = [
                Item(key, len(self._values[key]), self._stored[key])
                for key in sorted(self._values)
                if key.startswith(prefix) and key > after
            ]
        yield from found

    def folders(self, prefix: str) -> Iterator[str]:
        below = (key[len(prefix) :] for key in self.keys(prefix))
        yield from sorted({key.partition("/")[0] for key in below if "/" in key})

    def delete(self, key: str) -> None:
        with self._lock:
            self._values.pop(key, None)
            self._stored.pop(key, None)

    def move(self, key: str, target: str) -> None:
        with self._lock:
            if key not in self._values:
                raise self._missing(key)
            if target in self._values:
                raise KeyExists(f"The key exists already. Received: {target!r}")
            self._keep(target, self._values.pop(key))
            del self._stored[key]

    def _keep(self, key: str, value: bytes) -> None:
        self._values[key], self._stored[key] = value, time.time()

    def _missing(self, key: str) -> KeyNotFound:
        return KeyNotFound(f"No such key in {self.location}. Received: {key!r}")

    def spending_reserve(self) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def locked(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        with self._lock:
            lock = self._locks[name]
        held = lock.acquire(blocking=wait)
        try:
            yield held
        finally:
            if held:
                lock.release()

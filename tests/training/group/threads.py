"""A transport between threads of one process, for tests without processes."""

from __future__ import annotations

import itertools
import threading

from kept.training.group.base import Group

_numbers = itertools.count()


class Shared:
    """What the threads share."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.changed = threading.Condition()
        self.label = f"threads {next(_numbers)}"  # another one for each group


class ThreadTransport:
    """See Transport; each thread that plays a process has one."""

    def __init__(self, shared: Shared, rank: int, size: int) -> None:
        self._shared, self.rank, self.size = shared, rank, size
        self.label = shared.label

    def set(self, key: str, value: bytes) -> None:
        with self._shared.changed:
            assert key not in self._shared.values
            self._shared.values[key] = value
            self._shared.changed.notify_all()

    def get(self, key: str, seconds: float) -> bytes:
        with self._shared.changed:
            if not self._shared.changed.wait_for(lambda: key in self._shared.values, seconds):
                raise TimeoutError(key)
            return self._shared.values[key]

    def delete(self, key: str) -> None:
        with self._shared.changed:
            self._shared.values.pop(key, None)


def groups(size: int, seconds: float = 20.0) -> list[Group]:
    """Return the group as each of its processes sees it."""
    shared = Shared()
    return [Group(ThreadTransport(shared, rank, size), seconds=seconds) for rank in range(size)]

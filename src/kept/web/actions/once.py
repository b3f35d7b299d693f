"""Does each submitted form once: a second click gets the answer of the first one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 200


class _Entry:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answer: str | None = None


class Once:
    """Remembers the answers of the last forms that were carried out."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def run(self, key: str, act: Callable[[], str]) -> str:
        """Return what act returns; while it runs and afterwards, the same key waits for that.

        If act raises, the next call with the key runs it again.
        """
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            while len(self._entries) > _MOST:
                self._entries.popitem(last=False)
        with entry.lock:
            if entry.answer is None:
                entry.answer = act()
            return entry.answer

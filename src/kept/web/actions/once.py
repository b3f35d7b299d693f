"""Does each submitted form once: a second click gets the answer of the first one."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST = 200


class Answer:
    """The answer to a form: an address, None until the form is carried out."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.address: str | None = None


class Once:
    """Remembers the answers to the last forms."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def answer(self, key: str) -> Iterator[Answer]:
        """Yield the answer to a form; the same form waits until the first one has its answer."""
        with self._lock:
            found = self._answers.setdefault(key, Answer())
            self._answers.move_to_end(key)
            while len(self._answers) > _MOST:
                self._answers.popitem(last=False)
        with found.lock:
            yield found

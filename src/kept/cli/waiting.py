"""Says which place a command waits for, if it is silent for some seconds."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING

from kept.progress import say

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOTICE_SECONDS = 3.0
_BREAKER = "kept.bucket.object_storage.breaker"  # not imported as long as all places are folders


@contextlib.contextmanager
def waits_named() -> Iterator[None]:
    """Print on stderr, once for each location, that its server has been silent for 3 seconds."""
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(ended,), name="kept-notice", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _watch(ended: threading.Event) -> None:
    named: set[str] = set()
    while not ended.wait(_NOTICE_SECONDS / 6):
        if _BREAKER not in sys.modules:
            continue
        for location in sys.modules[_BREAKER].silent_for(_NOTICE_SECONDS):
            if location not in named:
                named.add(location)
                say(f"waiting for {location}")

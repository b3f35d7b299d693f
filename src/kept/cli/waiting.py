"""Says which place a command waits for, if it is silent for some seconds, and says so again."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING

from kept.progress import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.object_storage.breaker import Silence

_NOTICE_SECONDS = 3.0
_AGAIN_SECONDS = 25.0
_BREAKER = "kept.bucket.object_storage.breaker"  # not imported as long as all places are folders


@contextlib.contextmanager
def waits_named() -> Iterator[None]:
    """Print on stderr that the server of a location has been silent for 3 seconds.

    While it stays silent, the line is printed again before half a minute is over.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(ended,), name="kept-notice", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _watch(ended: threading.Event) -> None:
    named: dict[str, float] = {}  # when to name a location again
    while not ended.wait(_NOTICE_SECONDS / 6):
        if _BREAKER not in sys.modules:
            continue
        now = time.monotonic()
        for silence in sys.modules[_BREAKER].silent_for(_NOTICE_SECONDS):
            if now >= named.get(silence.location, now):
                named[silence.location] = now + _AGAIN_SECONDS
                say(_line(silence))


def _line(silence: Silence) -> str:
    upload = f", uploading {silence.uploaded / 1e6:.1f} MB" if silence.uploaded else ""
    return f"waiting for {silence.location} ({silence.seconds:.0f} s so far{upload})"

"""Whether a bucket in object storage answers, for callers that must not wait for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kept.bucket.object_storage.breaker import silent_for
from kept.errors import RemoteError, Unreachable
from kept.parallel import within

if TYPE_CHECKING:
    import threading

    from kept.bucket.base import Bucket

PATIENCE = 5.0  # seconds that the training waits for a place that may not answer
_STEP = 0.2  # seconds between two looks
_ASKED = "kept.json"  # a small value that every store has


def answers(bucket: Bucket, seconds: float = PATIENCE) -> bool:
    """Return whether a bucket answers a small request in time, be it with an error.

    After a time-out, or if another request waits for so long already, that is known at once. A
    bucket on this machine needs no request.
    """
    if not bucket.is_remote:
        return True
    if is_silent(bucket, seconds):
        return False
    try:
        within(seconds, lambda: bucket.size(_ASKED))
    except (TimeoutError, Unreachable):
        return False
    except RemoteError:
        pass
    return True


def is_silent(bucket: Bucket, seconds: float = PATIENCE) -> bool:
    """Return whether a request to a bucket waits for so long that it must be silent.

    A large upload may take long, so it says nothing about that.
    """
    silent = [silence for silence in silent_for(seconds) if not silence.uploaded]
    return bucket.location in (silence.location for silence in silent)


def ends(thread: threading.Thread, seconds: float) -> bool:
    """Wait for a thread that sends requests; return whether it has ended in time.

    If a server that is asked, by whatever thread, has been silent for some seconds, the wait ends.
    """
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        thread.join(max(min(left, _STEP), 0.0))
        if not thread.is_alive():
            return True
        if left <= _STEP or silent_for(PATIENCE):
            return False

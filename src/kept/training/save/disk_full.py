"""A disk that has no room: how it is recognized, and what to do about it."""

from __future__ import annotations

import errno


def is_full(error: Exception) -> bool:
    """Return whether a disk has no room."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def advice(error: Exception) -> str:
    """Return what to do about a full disk."""
    if is_full(error):
        return (
            ". Free some space: `kept gc --grace 0s` removes what deleted versions and saves that "
            "failed have left. Versions committed before are safe"
        )
    return ""

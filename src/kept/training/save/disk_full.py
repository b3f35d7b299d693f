"""A full disk: how kept recognizes it, and what it advises."""

from __future__ import annotations

import errno


def is_full(error: Exception) -> bool:
    """Return whether a disk is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def advice(error: Exception) -> str:
    """Return advice about a full disk, or nothing for another error."""
    if is_full(error):
        return (
            ". Free some space: `kept gc --grace 0s` removes the bytes of deleted versions and of "
            "failed saves. Versions committed before are safe"
        )
    return ""

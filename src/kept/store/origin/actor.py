"""Names the person or program that changes a store, for the history of an artifact."""

from __future__ import annotations

import functools
import os
import platform

_MOST = 128  # characters


@functools.cache
def login() -> str:
    """Return user@host of this process."""
    import getpass

    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container whose user has no name
        user = f"uid-{os.getuid()}" if hasattr(os, "getuid") else "unknown"
    return f"{user}@{platform.node() or 'unknown'}"


def actor() -> str:
    """Return who acts: the environment variable KEPT_USER, or user@host."""
    text = os.environ.get("KEPT_USER", "").strip() or login()
    return "".join(c if c.isprintable() else "?" for c in text)[:_MOST]

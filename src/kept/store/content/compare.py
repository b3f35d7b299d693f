"""Compares files on the disk with the files of a version, byte by byte."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kept.digest import digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.store.content.manifest import File


def holds(held: Mapping[str, File], files: Mapping[str, str]) -> bool:
    """Return whether a version holds all these files unchanged.

    held are the files of the version by their paths; files maps such paths to files on the disk.
    """
    return bool(files) and all(
        name in held and _is_equal(path, held[name]) for name, path in files.items()
    )


def _is_equal(path: str, held: File) -> bool:
    if os.stat(path).st_size != held.size:
        return False
    with open(path, "rb") as file:
        return all(digest(file.read(chunk.size)) == chunk.digest for chunk in held.chunks)

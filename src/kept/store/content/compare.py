"""Compares files on the disk with the files of a version, byte by byte."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kept.digest import digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.store.content.manifest import File


Digests = dict[tuple[str, int, int], str]  # of the bytes of a file: path, offset and size


def holds(held: Mapping[str, File], files: Mapping[str, str], known: Digests | None = None) -> bool:
    """Return whether a version holds all these files unchanged.

    held are the files of the version by their paths; files maps such paths to files on the disk.
    A caller that compares the same files with many versions passes one dict as known to all calls:
    then no byte is read twice.
    """
    digests: Digests = {} if known is None else known
    return bool(files) and all(
        name in held and _is_equal(path, held[name], digests) for name, path in files.items()
    )


def _is_equal(path: str, held: File, known: Digests) -> bool:
    if os.stat(path).st_size != held.size:
        return False
    offset = 0
    with open(path, "rb") as file:
        for chunk in held.chunks:
            place = (path, offset, chunk.size)
            if place not in known:
                file.seek(offset)
                known[place] = digest(file.read(chunk.size))
            if known[place] != chunk.digest:
                return False
            offset += chunk.size
    return True

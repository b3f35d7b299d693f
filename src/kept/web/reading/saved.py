"""The rows of a large store in the user's cache folder: the next server begins with them.

It is a cache: a row counts only while its log has the stamp of the row.
"""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
from typing import TYPE_CHECKING, NamedTuple

from kept.digest import digest
from kept.errors import Damaged
from kept.store.encoding import seal, unseal
from kept.store.format_marker import known_id
from kept.web.reading.standing import Standing
from kept.workspace import cache_folder

if TYPE_CHECKING:
    from kept.store.log.log import Logs

_FORM = 2  # of the file; another one is not read
_LEAST = 50  # artifacts; the logs of fewer are read at once


class Held(NamedTuple):
    """A row, and the log that it is from."""

    standing: Standing | None  # None if the artifact has never had a version
    stamp: str | None
    head: int


class Saved:
    """The file of one store, on this machine."""

    def __init__(self, logs: Logs) -> None:
        place = f"{known_id(logs.marker)} {logs.bucket.location} {platform.node()}"
        self._folder = os.path.join(cache_folder(), "page")
        self._path = os.path.join(self._folder, f"{digest(place.encode())[:32]}.json")
        self._count = 0  # rows that had been read when it was written

    def load(self) -> dict[str, Held]:
        """Return the rows of the file; none if it is missing, damaged or of another kept."""
        with contextlib.suppress(OSError, Damaged, TypeError, ValueError, KeyError):
            with open(self._path, "rb") as file:
                value = unseal(file.read(), self._path)
            if value["form"] == _FORM:
                return {
                    name: Held(row and Standing.parsed(row), stamp, head)
                    for name, (row, stamp, head) in value["rows"].items()
                }
        return {}

    def save(self, held: dict[str, Held], count: int) -> None:
        """Write the rows of a large store, if many were read since; no error is raised."""
        rows = {
            name: (each.standing and list(each.standing), each.stamp, each.head)
            for name, each in held.items()
            if each.stamp is not None
        }
        if len(rows) < _LEAST or count - self._count < max(_LEAST, len(rows) // 20):
            return
        self._count = count
        with contextlib.suppress(OSError, ValueError):
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            file, path = tempfile.mkstemp(dir=self._folder)  # readable by this user only
            try:
                with open(file, "wb") as opened:
                    opened.write(seal({"form": _FORM, "rows": rows}))
                os.replace(path, self._path)
            except BaseException:
                os.unlink(path)
                raise

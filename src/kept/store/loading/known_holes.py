"""Names the published weaknesses of the installed Keras before it loads a whole model."""

from __future__ import annotations

import re
import warnings
from typing import NamedTuple

Release = tuple[int, int, int]


class _Hole(NamedTuple):
    """A weakness of Keras 3: the first version that has it, and the first ones that have not."""

    cve: str
    since: Release
    fixed: Release
    backport: Release | None = None  # into 3.12


_HOLES = (
    _Hole("CVE-2025-8747", (3, 0, 0), (3, 11, 0)),
    _Hole("CVE-2025-9906", (3, 0, 0), (3, 11, 0)),
    _Hole("CVE-2025-9905", (3, 0, 0), (3, 11, 3)),
    _Hole("CVE-2025-49655", (3, 11, 0), (3, 11, 3)),
    _Hole("CVE-2026-0897", (3, 0, 0), (3, 13, 2), (3, 12, 1)),
    _Hole("CVE-2026-1462", (3, 0, 0), (3, 13, 2), (3, 12, 1)),
    _Hole("CVE-2026-1669", (3, 0, 0), (3, 13, 2), (3, 12, 2)),
    _Hole("CVE-2026-12480", (3, 0, 0), (3, 14, 1), (3, 12, 2)),
)
_warned: set[str] = set()  # versions of Keras


def known_holes(version: str) -> list[str]:
    """Return each known hole of a version of Keras 3, with the version that fixes it."""
    release = _release(version)
    return [
        f"{hole.cve} (fixed in {'.'.join(map(str, hole.fixed))})"
        for hole in _HOLES
        if release is not None and _has(release, hole)
    ]


def warn_of_holes(version: str) -> None:
    """Warn once in a process if the Keras that loads a whole model has known holes."""
    holes = known_holes(version)
    if not holes or version in _warned:
        return
    _warned.add(version)
    warnings.warn(
        f"Keras {version} has known weaknesses when it loads a whole model: {', '.join(holes)}. "
        "kept checks the file first, unless safe_mode=False. To close them, install a newer one: "
        "pip install --upgrade keras",
        stacklevel=4,
    )


def _has(release: Release, hole: _Hole) -> bool:
    is_closed = hole.backport is not None and hole.backport <= release < (3, 13, 0)
    return hole.since <= release < hole.fixed and not is_closed


def _release(version: str) -> Release | None:
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None

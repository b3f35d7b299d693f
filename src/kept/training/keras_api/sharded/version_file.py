"""Single files of a version, for models whose weights no process can hold as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.errors import NotFound
from kept.store.content.manifest import Manifest
from kept.store.content.ranged_file import RangedFile
from kept.store.content.restore import restore

if TYPE_CHECKING:
    from pathlib import Path

    from kept.store.version import Version


def open_file(version: Version, path: str) -> RangedFile:
    """Open a file of a version; it fetches and checks only the ranges that are read.

    Raises NotFound, NotSigned or Damaged.
    """
    _check_signed(version)
    for file in version.files:
        if file.path == path:
            return RangedFile(version.store.bucket, file)
    raise NotFound(f"{version.reference} does not hold {path}")


def download_others(version: Version, root: Path, path: str) -> RangedFile:
    """Open one file as open_file does, and write all others below root."""
    opened = open_file(version, path)
    files = tuple(file for file in version.files if file.path != path)
    restore(version.store.bucket, Manifest(files), root, None)
    return opened


def _check_signed(version: Version) -> None:
    if version.store.required_keys:
        version.check_signed(version.store.required_keys)

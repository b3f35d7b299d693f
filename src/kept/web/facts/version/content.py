"""The files of a version, how many of their bytes are new, and the lines that bring them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kept.errors import KeptError
from kept.store.content.read_manifest import read_manifest

if TYPE_CHECKING:
    from kept.bucket.base import Bucket
    from kept.store.content.manifest import File, Manifest
    from kept.store.log.history import VersionRecord


class FileRow(NamedTuple):
    """A file, and how many of its bytes the version before lacks."""

    path: str
    size: int
    digest: str | None  # None if the file has several chunks, whose digests kept has instead
    chunks: int
    new: int | None  # None if the version before has no manifest


class Content(NamedTuple):
    """The files of a version."""

    files: list[FileRow]
    chunks: int
    new: int | None  # bytes that the version before lacks; each chunk counts once
    shared: int | None
    is_first: bool  # there is no version before


def manifest_of(bucket: Bucket, record: VersionRecord) -> Manifest | str:
    """Return the manifest of a version, or why it cannot be read."""
    try:
        return read_manifest(bucket, record)
    except (KeptError, OSError) as error:
        return str(error)


def content_of(manifest: Manifest, before: Manifest | None, *, is_first: bool) -> Content:
    """Return the files of a version, beside the manifest of the version before."""
    known = {chunk.digest for chunk in before.file_chunks()} if before else set()
    is_known = is_first or before is not None
    files = [_row(file, known if is_known else None) for file in manifest.files]
    unique = {chunk.digest: chunk.size for chunk in manifest.file_chunks()}
    new = sum(size for digest, size in unique.items() if digest not in known)
    chunks = sum(row.chunks for row in files)
    if not is_known:
        return Content(files, chunks, None, None, is_first)
    return Content(files, chunks, new, manifest.size - new, is_first)


def _row(file: File, known: set[str] | None) -> FileRow:
    new = None
    if known is not None:
        unique = {chunk.digest: chunk.size for chunk in file.chunks}
        new = sum(size for digest, size in unique.items() if digest not in known)
    digest = file.chunks[0].digest if len(file.chunks) == 1 else None
    return FileRow(file.path, file.size, digest, len(file.chunks), new)

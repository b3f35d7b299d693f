"""A file of a version, to download."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from kept.errors import NotFound
from kept.store.content.restore import ChunkReader
from kept.web.page import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.base import Bucket
    from kept.store.content.manifest import File
    from kept.web.query import Query
    from kept.web.reading.reader import Reader


def version_file(reader: Reader, query: Query, name: str, index: int) -> Stream:
    """Return the file that file= names, every byte checked.

    A download ends early if a later chunk is damaged. Raises NotFound, NotSigned or Damaged.
    """
    version = reader.store.version(f"{name}:v{index}")
    if reader.store.required_keys:
        version.check_signed(reader.store.required_keys)
    wanted = query.get("file")
    file = next((each for each in version.files if each.path == wanted), None)
    if file is None:
        raise NotFound(f"{version.reference} has no file {wanted[:300]!r}.")
    parts = _parts(reader.store.bucket, file)
    begin = next(parts, b"")  # damage here has a page that says what is wrong
    return Stream(file.path.rpartition("/")[2], file.size, itertools.chain([begin], parts))


def _parts(bucket: Bucket, file: File) -> Iterator[bytes]:
    chunks = ChunkReader(bucket)
    for chunk in file.chunks:
        yield bytes(chunks.read(chunk))

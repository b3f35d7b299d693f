"""What versions take in the store: new bytes, shared ones, and those that coding saves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.charts.rows import Stored
from kept.errors import KeptError
from kept.store.blobs.blob import blob_key
from kept.store.content.read_manifest import read_manifest
from kept.store.display.measured import measured_number
from kept.web.facts.artifact.series import Takes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.store.content.manifest import Chunk
    from kept.store.log.history import VersionRecord
    from kept.web.facts.artifact.series import Series

    _Chunks = dict[str, Chunk]  # by their digests

_MOST = 20_000  # versions in memory


def takes_of(series: Series, shown: Sequence[VersionRecord]) -> dict[int, Takes]:
    """Return what the shown versions take, by their numbers.

    In a folder the manifests of the shown versions and of those before them say it. In object
    storage each would be a request, so only what the writer noted is known.
    """
    if series.is_remote or not shown:
        return {record.index: _noted(record) for record in shown}
    if len(series.takes) > _MOST:
        series.takes.clear()
    counting = _Counting(series)
    return {record.index: counting.takes(record) for record in shown}


def stored_rows(takes: dict[int, Takes], records: Sequence[VersionRecord]) -> list[Stored]:
    """Return the rows of the chart of storage, oldest first, of what is known."""
    return [
        Stored(f"v{record.index}", took.new, took.shared or 0, took.saved or 0)
        for record in reversed(records)
        if (took := takes.get(record.index)) and took.new is not None
    ]


class _Counting:
    """Counts what versions take; a manifest is read once for a version and the one after it."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self._last: tuple[str, _Chunks | None] = ("", None)

    def takes(self, record: VersionRecord) -> Takes:
        series = self._series
        place = series.places.get(record.index)
        if place is None:  # deleted: gc may have freed it
            return _noted(record)
        before = series.live[place + 1] if place + 1 < len(series.live) else None
        key = (record.manifest, before.manifest if before else None)
        found = series.takes.get(key)
        if found is None:
            chunks = self._chunks(record)
            older: _Chunks | None = self._chunks(before) if before else {}
            if chunks is None or older is None:
                found = _noted(record)
            else:
                found = self._counted(record, chunks, older)
            series.takes[key] = found
        return found

    def _chunks(self, record: VersionRecord) -> _Chunks | None:
        """Return the chunks of the files of a version; None if its manifest is damaged."""
        name, found = self._last
        if name != record.manifest:
            try:
                manifest = read_manifest(self._series.bucket, record)
                found = {chunk.digest: chunk for chunk in manifest.file_chunks()}
            except (KeptError, OSError):  # the page of the version says what is wrong
                found = None
            self._last = record.manifest, found
        return found

    def _counted(self, record: VersionRecord, chunks: _Chunks, older: _Chunks) -> Takes:
        added = [chunk for digest, chunk in chunks.items() if digest not in older]
        new = sum(chunk.size for chunk in added)
        sizes = self._series.needs.of(record)
        stored = sum(sizes.get(key, 0) for key in {blob_key(chunk.blob) for chunk in added})
        saved = max(new - stored, 0)
        return Takes(new - saved, record.size - new, saved)


def _noted(record: VersionRecord) -> Takes:
    new = measured_number(record, "bytes_new")
    return Takes(None if new is None or new < 0 else int(new))

"""Codes the blobs of committed versions, so that they need less room.

A commit stores blobs raw, which takes the least time. The compactor replaces a blob by its coded
form later, under the same name, in one atomic step: at any moment one good form exists.

It puts the elements into byte planes. If it pays, it stores them as differences to the same tensor
in an earlier version, the base. The forms of a tensor are counted (their generation): the form of
generation 0 has no base and is the base of up to 7 next ones, so reading a version needs at most
two forms of a tensor. A base gets worse with its age; from generation 5 on a difference has to
save much, or a new series begins. Measured, as parts of the raw bytes, for fp32 training with Adam
and for bf16 weights in fine-tuning: 0.727, 0.238. With `smallest` generation 3 is the base of 4 to
7: 0.717, 0.214, and reading needs three forms. If each form were the base of the next, fp32 would
need 0.696, and reading up to eight forms.

Invariants: only a raw blob gets a base, and a base is coded already. A blob with a base is stored
only under bases_lock, after a look at all bases of its base. So there are no circles, and no blob
has a base that is being deleted.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter, deque
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import Damaged
from kept.store.blobs.blob import (
    RAW,
    bases_lock,
    bases_of,
    blob_key,
    is_whole,
    read_blob,
    read_head,
    stored_size,
)
from kept.store.blobs.codec import code_blob
from kept.store.blobs.header import DELTA, MOST, Head, Section
from kept.store.compact.tensor_map import Layout, Piece
from kept.store.content.read_manifest import read_manifest
from kept.store.content.restore import ChunkReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.bucket.base import Bucket, Buffer
    from kept.bucket.transfer import Progress
    from kept.store.content.manifest import Manifest
    from kept.store.log.history import VersionRecord

GENERATIONS = 8
_OLD = 5
_LEAST = 4 * 1024  # raw bytes of a blob that is worth the work: a block of most file systems
_GAIN = 0.98  # part of the other form: a smaller saving is not worth the time to read it
_SAMPLE = 64 * 1024


@dataclass(slots=True)
class Compacted:
    """The blobs that were coded, and their bytes."""

    blobs: int = 0
    before: int = 0  # stored bytes
    after: int = 0


class Compactor:
    """Codes artifacts, one version after the other; a further call codes the new versions."""

    def __init__(self, bucket: Bucket, *, smallest: bool = False) -> None:
        """Take the bucket of a store; smallest is explained above."""
        self._of_bases = (0, 3) if smallest else (0,)  # generations
        self._bucket = bucket
        self._reader = ChunkReader(bucket)
        self._heads: dict[str, Head | None] = {}  # of the blobs seen; None: missing or damaged
        self._bases: set[str] = set()  # that these heads name
        self._series: dict[str, _Series] = {}
        self.done = Compacted()

    def compact_all(
        self, artifacts: list[tuple[str, list[VersionRecord]]], progress: Progress | None = None
    ) -> Compacted:
        """Code the versions of artifacts, oldest first; return the savings so far.

        progress is called with the versions done and in all.
        """
        done, total = 0, sum(len(records) for _, records in artifacts)
        for name, records in artifacts:
            self.compact(name, records)
            done += len(records)
            if progress:
                progress(done, total)
        return self.done

    def compact(self, name: str, oldest_first: Iterable[VersionRecord]) -> None:
        """Code the versions of an artifact that are new since the last call.

        Damaged versions and blobs stay as they are; verify reports them.
        """
        for _ in self.steps(name, oldest_first):
            pass

    def steps(self, name: str, oldest_first: Iterable[VersionRecord]) -> Iterator[None]:
        """Do what compact does in steps of some milliseconds; the caller may wait between them."""
        series = self._series.setdefault(name, _Series())
        versions = deque(self._versions(oldest_first, series.newest))
        for version in versions:
            for blob in version.blobs:
                self._look_at(blob)
        while versions:
            version = versions.popleft()  # this frees its layout
            for blob in version.blobs:
                yield
                yield from self._compact(blob, version, series.recent)
            series.recent.appendleft(version)
            series.newest = version.index

    def _versions(self, records: Iterable[VersionRecord], newest: int) -> Iterator[_Version]:
        for record in records:
            if record.index > newest:
                with contextlib.suppress(Damaged):
                    manifest = read_manifest(self._bucket, record)
                    yield _Version(self._reader, record.index, manifest)

    def _look_at(self, blob: str) -> None:
        if blob not in self._heads:
            self._heads[blob] = None
            with contextlib.suppress(Damaged):
                self._heads[blob] = head = read_head(self._bucket, blob)
                if head is not None and head.base is not None:
                    self._bases.add(head.base)

    def _compact(self, blob: str, version: _Version, recent: Iterable[_Version]) -> Iterator[None]:
        head = self._heads[blob]
        if head is None or head.codec != RAW or not _LEAST <= head.raw_size <= MOST:
            return
        try:
            raw = read_blob(self._bucket, blob)
            pieces = version.layout.pieces(blob)
            base = self._base(blob, pieces, recent)
            yield from self._store(blob, raw, pieces, base)
        except Damaged:
            self._heads[blob] = None

    def _base(self, blob: str, pieces: list[Piece], recent: Iterable[_Version]) -> _Base | None:
        """Return the base for a blob, None if none is good enough."""
        if self._bucket.is_remote or blob in self._bases:  # a remote bucket has no bases_lock
            return None
        found = (self._nearest(pieces, version) for version in recent)
        candidates = (base for base in found if base is not None and base.name != blob)
        previous = next(candidates, None)
        generation = (previous.generation + 1) % GENERATIONS if previous else 0
        for base in itertools.chain([previous], candidates) if generation else ():
            # Generations fall along a chain of bases, so that none gets longer than they count.
            if base and base.generation < generation and base.generation in self._of_bases:
                return base._replace(generation=generation)
        return None

    def _nearest(self, pieces: list[Piece], version: _Version) -> _Base | None:
        """Return the coded blob of a version that holds most of the pieces, with their offsets."""
        places = {piece: version.layout.place(piece) for piece in pieces}
        sizes: Counter[str] = Counter()
        for piece, place in places.items():
            if place is not None:
                sizes[place[0]] += piece.section.size
        for name, _ in sizes.most_common(1):
            head = self._heads.get(name)
            if head is not None and head.codec != RAW:
                offsets = {piece: at[1] for piece, at in places.items() if at and at[0] == name}
                return _Base(name, head.generation, offsets)
        return None

    def _store(
        self, blob: str, raw: memoryview, pieces: list[Piece], base: _Base | None
    ) -> Iterator[None]:
        """Store a blob in coded form, with the base if that saves enough."""
        if base is not None:
            base_raw = read_blob(self._bucket, base.name)
            yield
            deltas = {piece: offset for piece, offset in base.offsets.items()
                      if _saving(raw, base_raw, piece, offset) > base.least_saving}  # fmt: skip
            if deltas:
                sections = _sections(pieces, deltas, len(raw))
                coded = code_blob(raw, sections, (base.name, base_raw), base.generation)
                if self._replace_with_base(blob, coded, len(raw), base.name):
                    return
            yield
        self._replace(blob, code_blob(raw, _sections(pieces, {}, len(raw))), len(raw))

    def _replace_with_base(self, blob: str, coded: list[Buffer], size: int, base: str) -> bool:
        with bases_lock(self._bucket) as held:
            if (
                not held
                or blob in (base, *bases_of(self._bucket, base))
                or not is_whole(self._bucket, base)
            ):
                return False
            self._bases.add(base)
            return self._replace(blob, coded, size)

    def _replace(self, blob: str, coded: list[Buffer], raw_size: int) -> bool:
        size = sum(map(len, coded))
        if size > _GAIN * raw_size:
            return False
        self._bucket.put(blob_key(blob), coded)
        self._heads[blob] = read_head(self._bucket, blob)
        self.done.blobs += 1
        self.done.before += stored_size(raw_size)
        self.done.after += size
        return True


class _Base(NamedTuple):
    """A blob, for another blob that may be stored as the difference to it."""

    name: str
    generation: int
    offsets: dict[Piece, int]  # of the pieces of the other blob in this one

    @property
    def least_saving(self) -> float:
        """The part of a piece's coded bytes that the difference to this base has to save."""
        return 1 - _GAIN if self.generation < _OLD else 0.4


class _Version:
    def __init__(self, reader: ChunkReader, index: int, manifest: Manifest) -> None:
        self.index = index
        self.blobs = list(dict.fromkeys(chunk.blob for chunk in manifest.chunks()))
        self._reader, self._manifest = reader, manifest

    @cached_property
    def layout(self) -> Layout:
        """The places of the tensors; raises Damaged."""
        return Layout(self._reader, self._manifest)


class _Series:
    """The state of an artifact between two calls."""

    def __init__(self) -> None:
        self.newest = -1  # index of the last version that was coded or skipped
        self.recent: deque[_Version] = deque(maxlen=GENERATIONS)  # the newest first


def _sections(pieces: list[Piece], deltas: dict[Piece, int], size: int) -> list[Section]:
    """Return the sections of a blob: its pieces, and the bytes between them."""
    sections, end = [], 0
    for piece in pieces:
        if piece.offset > end:
            sections.append(Section(piece.offset - end))
        section = piece.section
        if piece in deltas:
            section = section._replace(flags=section.flags | DELTA, offset=deltas[piece])
        sections.append(section)
        end = piece.offset + section.size
    if size > end:
        sections.append(Section(size - end))
    return sections


def _saving(raw: memoryview, base: memoryview, piece: Piece, offset: int) -> float:
    """Return the part of a piece's coded bytes that the difference saves, judged by a sample."""
    size = min(piece.section.size, _SAMPLE)
    skip = (piece.section.size - size) // 2 // piece.section.width * piece.section.width
    new = raw[piece.offset + skip :][:size]
    section = piece.section._replace(size=size)
    delta = section._replace(flags=section.flags | DELTA)
    old = base[offset + skip :][:size]
    with_base = _length(code_blob(new, [delta], ("0" * 64, old)))
    return 1 - with_base / _length(code_blob(new, [section]))


def _length(parts: list[Buffer]) -> int:
    return sum(map(len, parts))

"""Codes raw bytes so that they need less room, and decodes them. Lossless for any bytes.

The codec puts the bytes of all elements of one kind into planes: first the lowest byte of every
element, then the next one. In a float only the planes of sign and exponent are far from random, and
zstd finds them. With a base, the codec first replaces an element by its difference to the one in
the base, as integers. It folds these so that small differences of either sign have zeros in the
high bytes (zig-zag). Subtracting the bits of floats is exact, and better than XOR: neighbours
differ in few low bits.

It works in pieces that stay in the processor's cache, where NumPy does 3 to 5 GB/s (a plain byte
transpose: 0.8 GB/s), and Python threads run meanwhile.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import zstandard

from kept.errors import Damaged
from kept.store.blobs.header import BIG_ENDIAN, DELTA, Head, Section, pack_head, parse_sections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.base import Buffer

Array = np.ndarray[Any, Any]
# Level 1 with a table of 256 places: matches far back in a plane are chance, and slow down reading.
# 1.4 times as fast as level 1 itself, and as small; levels 3 to 12 are slower, not smaller.
# Level 19 saves 4 to 6 % of bf16 differences and 1 % of fp32 ones, for 45 times the time; lazy2
# with a table of 64 places 2.2 % and 0.1 %, for 1.3 to 1.7 times.
_FAST = zstandard.ZstdCompressionParameters(
    window_log=19, hash_log=8, chain_log=6, search_log=1, min_match=7, target_length=0,
    strategy=zstandard.STRATEGY_FAST,
)  # fmt: skip
_PIECE = 64 * 1024  # elements
_BATCH = 8 * 1024 * 1024  # bytes
_MOST_REUSED = 24 * 1024 * 1024  # bytes of memory that a thread keeps; kept makes no larger blobs
Member = tuple[int, Section]  # the start of a section in the raw bytes, and the section


def code_blob(
    raw: Buffer,
    sections: list[Section],
    base: tuple[str, Buffer] | None = None,
    generation: int = 0,
) -> list[Buffer]:
    """Return the coded form of a blob; base is the digest and the raw bytes of another one."""
    out = np.empty(len(raw), np.uint8)
    base_bytes = base[1] if base else b""
    at = 0
    for kind, members in _by_kind(sections):
        elements = _gathered(raw, [(start, section.size) for start, section in members], kind)
        if kind[1] & DELTA:
            places = [(section.offset, section.size) for _, section in members]
            elements = _folded(elements, _gathered(base_bytes, places, kind))
        end = at + elements.nbytes
        _to_planes(elements, out[at:end].reshape(kind[0], -1))
        at = end
    frame = zstandard.ZstdCompressor(compression_params=_FAST).compress(out.data)
    return [pack_head(len(raw), generation, base and base[0], sections, len(frame)), frame]


def decode_blob(
    head: Head, stored: Buffer, base: Buffer, key: str, *, lent: bool = False
) -> memoryview:
    """Return the raw bytes, not yet checked; base is the raw bytes of the base, if it has one.

    Takes no more memory than a few times the raw size, whatever is stored. Lent bytes stay valid
    until this thread decodes the second next blob with lent. Raises Damaged.
    """
    sections = parse_sections(head, stored, len(base), key)
    planes = _decompressed(memoryview(stored)[head.payload :], head.raw_size, key)
    raw = _scratch.lend(head.raw_size) if lent else np.empty(head.raw_size, np.uint8)
    at = 0
    for kind, members in _by_kind(sections):
        end = at + sum(section.size for _, section in members)
        of_kind, done = planes[at:end].reshape(kind[0], -1), 0
        for batch in _batches(members):
            count = sum(section.size for _, section in batch) // kind[0]
            _decode_batch(of_kind[:, done : done + count], kind, batch, base, raw)
            done += count
        at = end
    return memoryview(raw.data)


def _decode_batch(
    planes: Array, kind: tuple[int, int], members: list[Member], base: Buffer, raw: Array
) -> None:
    """Write the raw bytes of sections of one kind to their places."""
    width, flags = kind
    old = None
    if flags & DELTA:
        old = _gathered(base, [(s.offset, s.size) for _, s in members], kind)
    ranges = [raw[start : start + section.size] for start, section in members]
    # A single range, the usual case for large tensors, is written in place: one copy less.
    target = ranges[0] if len(ranges) == 1 else np.empty(sum(map(len, ranges)), np.uint8)
    elements = target.view(f"<u{width}")
    _from_planes(planes, elements, old)
    if flags & BIG_ENDIAN:
        elements.byteswap(inplace=True)
    if len(ranges) > 1:
        _scatter(target, ranges)


def _batches(members: list[Member]) -> Iterator[list[Member]]:
    """Yield the members, in order, in groups of about _BATCH bytes: their copies take memory."""
    batch: list[Member] = []
    size = 0
    for member in members:
        if batch and size + member[1].size > _BATCH:
            yield batch
            batch, size = [], 0
        batch.append(member)
        size += member[1].size
    if batch:
        yield batch


def _by_kind(
    sections: list[Section],
) -> Iterator[tuple[tuple[int, int], list[Member]]]:
    """Yield each kind, ascending, with the start of each of its sections and the section."""
    groups: dict[tuple[int, int], list[Member]] = {}
    start = 0
    for section in sections:
        groups.setdefault(section.kind, []).append((start, section))
        start += section.size
    yield from sorted(groups.items())


def _gathered(data: Buffer, places: list[tuple[int, int]], kind: tuple[int, int]) -> Array:
    """Return the elements in these ranges, one after the other, as numbers."""
    width, flags = kind
    view = np.frombuffer(data, np.uint8)
    parts = [view[start : start + size] for start, size in places]
    joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return joined.view(f"{'>' if flags & BIG_ENDIAN else '<'}u{width}")


def _scatter(data: Array, ranges: list[Array]) -> None:
    at = 0
    for target in ranges:
        target[:] = data[at : at + len(target)]
        at += len(target)


def _folded(new: Array, old: Array) -> Array:
    """Return the differences in zig-zag: 0, 1, 2, 3, 4 for 0, -1, 1, -2, 2."""
    bits = 8 * new.itemsize
    out = np.empty(len(new), f"<u{new.itemsize}")
    sign = np.empty(min(_PIECE, len(new)), f"<i{new.itemsize}")
    for start in range(0, len(new), _PIECE):
        piece = out[start : start + _PIECE]
        np.subtract(new[start : start + _PIECE], old[start : start + _PIECE], out=piece)
        high = np.right_shift(piece.view(sign.dtype), bits - 1, out=sign[: len(piece)])
        np.left_shift(piece, 1, out=piece)
        np.bitwise_xor(piece, high.view(out.dtype), out=piece)
    return out


def _to_planes(elements: Array, planes: Array) -> None:
    """Write the byte planes of the elements, the lowest bytes first."""
    shifted = np.empty(min(_PIECE, len(elements)), f"<u{elements.itemsize}")
    for start in range(0, len(elements), _PIECE):
        piece = elements[start : start + _PIECE]
        for number, plane in enumerate(planes):
            part = shifted[: len(piece)]
            np.right_shift(piece, 8 * number, out=part)
            np.copyto(plane[start : start + _PIECE], part, casting="unsafe")


def _from_planes(planes: Array, out: Array, old: Array | None) -> None:
    """Write the elements of these byte planes; with old, undo _folded too."""
    sign = np.empty(min(_PIECE, len(out)), out.dtype)
    for start in range(0, len(out), _PIECE):
        piece = out[start : start + _PIECE]
        np.copyto(piece, planes[-1, start : start + _PIECE])
        for plane in planes[-2::-1]:
            np.left_shift(piece, 8, out=piece)
            np.bitwise_or(piece, plane[start : start + _PIECE], out=piece)
        if old is not None:
            _unfold(piece, old[start : start + _PIECE], sign[: len(piece)])


def _unfold(piece: Array, old: Array, sign: Array) -> None:
    np.bitwise_and(piece, 1, out=sign)
    np.negative(sign, out=sign)
    np.right_shift(piece, 1, out=piece)
    np.bitwise_xor(piece, sign, out=piece)
    np.add(piece, old, out=piece)


def _decompressed(frame: memoryview, size: int, key: str) -> Array:
    """Return the content of a zstd frame; raises Damaged if its size is another one."""
    try:
        known = zstandard.get_frame_parameters(frame)
        if known.content_size != size:  # zstandard allocates as many bytes as the frame says
            raise Damaged(
                f"{key} is damaged: expected {size} bytes of payload, found {known.content_size}"
            )
        planes = _scratch.planes(size)
        got = zstandard.ZstdDecompressor().stream_reader(frame).readinto(planes.data)
    except zstandard.ZstdError as error:
        raise Damaged(f"{key} is damaged: {error}") from None
    if got != size:
        raise Damaged(f"{key} is damaged: expected {size} bytes of payload, found {got}")
    return planes


class _Scratch(threading.local):
    """Memory that a thread reuses, because new pages cost more than half of the decoding time."""

    def __init__(self) -> None:
        self._planes = np.empty(0, np.uint8)
        self._lent = [np.empty(0, np.uint8), np.empty(0, np.uint8)]

    def planes(self, size: int) -> Array:
        if size > _MOST_REUSED:
            return np.empty(size, np.uint8)
        if len(self._planes) < size:
            self._planes = np.empty(size, np.uint8)
        return self._planes[:size]

    def lend(self, size: int) -> Array:
        if size > _MOST_REUSED:
            return np.empty(size, np.uint8)
        self._lent.reverse()  # the other one may hold the base of this blob
        if len(self._lent[0]) < size:
            self._lent[0] = np.empty(size, np.uint8)
        return self._lent[0][:size]


_scratch = _Scratch()

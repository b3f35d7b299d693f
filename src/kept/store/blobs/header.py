"""The head of a coded blob: how to restore its raw bytes. codec.py does that.

    0   4  b"kept"
    4   1  codec 1
    5   1  generation: its place among 8 forms of a tensor, of which the first has no base
    6   2  zero
    8   8  number of raw bytes, at most MOST
    16  8  number of stored bytes, this head included
    24  4  number of sections
    28  4  zero
    32 32  digest of the base, or zeros
    64     the sections, 16 bytes each: 4 size, 1 width of an element, 1 flags, 2 zero,
           8 offset in the base's raw bytes
    then one zstd frame

All numbers are unsigned and little-endian.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import Damaged

if TYPE_CHECKING:
    from kept.bucket.base import Buffer

CODED = 1
MOST = (
    64 * 1024 * 1024
)  # raw bytes of a coded blob: limits the memory that a damaged head can request
MOST_SECTIONS = 65_536  # limits the memory that a damaged table can request
WIDTHS = (1, 2, 4, 8)
DELTA, BIG_ENDIAN = 1, 2  # flags
_HEAD = struct.Struct("<4sBBxxQQIxxxx32s")
_SECTION = struct.Struct("<IBBxxQ")
_NO_BASE = bytes(32)
HEAD_SIZE = _HEAD.size


class Section(NamedTuple):
    """A range of a blob's raw bytes whose elements are of one kind."""

    size: int
    width: int = 1  # bytes of an element
    flags: int = 0
    offset: int = 0  # with DELTA: in the base, the start of the range that it is the difference to

    @property
    def kind(self) -> tuple[int, int]:
        """Sections of one kind are coded together."""
        return self.width, self.flags


class Head(NamedTuple):
    """The parsed head of a blob."""

    codec: int
    raw_size: int
    stored_size: int = 0
    generation: int = 0
    sections: int = 0
    base: str | None = None

    @property
    def payload(self) -> int:
        """The offset of the zstd frame."""
        return HEAD_SIZE + self.sections * _SECTION.size


def pack_head(
    raw_size: int, generation: int, base: str | None, sections: list[Section], payload: int
) -> bytes:
    """Return the head of a coded blob; payload is the number of payload bytes."""
    size = HEAD_SIZE + len(sections) * _SECTION.size + payload
    name = bytes.fromhex(base) if base else _NO_BASE
    head = _HEAD.pack(b"kept", CODED, generation, raw_size, size, len(sections), name)
    return head + b"".join(_SECTION.pack(*section) for section in sections)


def parse_head(stored: Buffer, size: int, key: str) -> Head:
    """Read the first bytes of a coded blob that is size bytes long; raises Damaged."""
    if len(stored) < HEAD_SIZE:
        raise Damaged(f"{key} is damaged: expected at least {HEAD_SIZE} bytes, found {len(stored)}")
    _, codec, generation, raw_size, stored_size, sections, name = _HEAD.unpack_from(stored)
    base = None if name == _NO_BASE else name.hex()
    head = Head(codec, raw_size, stored_size, generation, sections, base)
    if size != stored_size:
        raise Damaged(f"{key} is damaged: expected {stored_size} bytes, found {size}")
    if raw_size > MOST or sections > MOST_SECTIONS or head.payload > size:
        raise Damaged(f"{key} is damaged: {raw_size} bytes in {sections} sections are too many")
    return head


def parse_sections(head: Head, stored: Buffer, base_size: int, key: str) -> list[Section]:
    """Read the sections of a whole coded blob; raises Damaged if one is not valid."""
    table = bytes(stored[HEAD_SIZE : head.payload])
    sections = [Section(*fields) for fields in _SECTION.iter_unpack(table)]
    if sum(section.size for section in sections) != head.raw_size:
        raise Damaged(f"{key} is damaged: its sections do not add up to {head.raw_size} bytes")
    for section in sections:
        if section.width not in WIDTHS or section.size % section.width or section.flags > 3:
            raise Damaged(f"{key} is damaged: not a valid section: {section}")
        if section.flags & DELTA and section.offset + section.size > base_size:
            raise Damaged(
                f"{key} is damaged: its base has {base_size} bytes, too few for {section}"
            )
    return sections

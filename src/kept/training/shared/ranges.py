"""Ranges of memory whose digest and CRC-32 are known, for the file that the first rank composes.

The first rank has memory for all values, but bytes only in its own pieces. So whatever reads the
values of others' pieces must take what is known of them instead.
"""

from __future__ import annotations

import bisect
import operator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from isal.isal_zlib import crc32, crc32_combine

from kept.errors import InvalidCheckpoint
from kept.store.content.shared_file import Part, SharedFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.bucket.base import Buffer
    from kept.store.content.shared_file import Holders


class _Range(NamedTuple):
    address: int
    part: Part
    crc32: int


class HeldRanges:
    """The pieces of all ranks, by their addresses in the first rank's memory."""

    def __init__(self, known: Iterable[tuple[Part, int]], holders: Holders) -> None:
        """Take the parts, each with its CRC-32."""
        ranges = (_Range(_address(part.data), part, crc) for part, crc in known)
        self._ranges = sorted(ranges, key=operator.attrgetter("address"))
        self._starts = [one.address for one in self._ranges]
        self._holders = holders

    def crc32(self, data: Buffer, value: int = 0, /) -> int:
        """Return the CRC-32 of data that follow others with the CRC-32 value."""
        for one in self._split(data):
            if isinstance(one, _Range):
                value = crc32_combine(value, one.crc32, one.part.size)
            else:
                value = crc32(one, value)
        return value

    def file(self, name: str, buffers: Iterable[Buffer]) -> SharedFile:
        """Return the file with these bytes; raises InvalidCheckpoint if it lacks remote pieces.

        Then some value was copied or computed, from memory without its bytes.
        """
        parts: list[Buffer | Part] = []
        for buffer in buffers:
            parts += [one.part if isinstance(one, _Range) else one for one in self._split(buffer)]
        in_file = (one for one in parts if isinstance(one, Part) and one.is_remote)
        found = {_address(part.data) for part in in_file}  # a weight of two layers is there twice
        expected = {one.address for one in self._ranges if one.part.is_remote}
        if found != expected:
            raise InvalidCheckpoint(
                f"{name} would hold {len(found)} of {len(expected)} pieces of weights that other "
                "processes have. Layers and optimizers that save values in their own way, with a "
                "save_own_variables of their own, can be saved by one process only."
            )
        return SharedFile(name, parts, self._holders)

    def _split(self, data: Buffer) -> Iterator[memoryview | _Range]:
        """Yield the known ranges in data, and what lies between them."""
        view = memoryview(data).cast("B")
        if not view:
            return
        address, here = _address(view), 0
        for index in range(bisect.bisect_left(self._starts, address), len(self._ranges)):
            one = self._ranges[index]
            begin = one.address - address
            if begin + one.part.size > len(view):
                break
            if here < begin:
                yield view[here:begin]
            yield one
            here = begin + one.part.size
        if here < len(view):
            yield view[here:]


def _address(memory: memoryview) -> int:
    return int(np.frombuffer(memory, np.uint8).__array_interface__["data"][0])

"""The standard library's zipfile, with a faster checksum.

The members of a .keras file are not compressed, so the CRC-32 takes nearly all of the processor
time of writing one. Python's own reads 1.6 GB/s, Intel's ISA-L 7.3 (measured; saving 300 MB then
takes 0.55 seconds of processor time instead of 0.65).

zipfile has no option for it. So this is a second copy of that module in which the name crc32 is
replaced; the module that others import does not change. If a zipfile calls its checksum in another
way, this copy is slower and still correct.
"""

from __future__ import annotations

import importlib.util
import time
import zipfile as _standard
from typing import IO, TYPE_CHECKING, Any, Protocol

from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from zipfile import ZipFile, ZipInfo

    from kept.bucket.base import Buffer
    from kept.store.content.chunking import Range
    from kept.training.keras_api.composed_file import ComposedFile


class Checksum(Protocol):
    """Something with a function for the checksum."""

    def crc32(self, data: Buffer, value: int = 0, /) -> int:
        """Return the CRC-32 of data that follow others with the CRC-32 value."""


def zipfile_with(checksum: Checksum) -> Any:  # Any: to type checkers it is another module
    """Return a copy of the module zipfile that uses a checksum."""
    module: Any = importlib.util.module_from_spec(_standard.__spec__)
    _standard.__spec__.loader.exec_module(module)  # type: ignore[union-attr]
    module.crc32 = checksum.crc32
    return module


zipfile: Any = zipfile_with(isal_zlib)


class Archive:
    """An archive that is written; zip is the module's own object for it."""

    def __init__(self, file: ComposedFile, checksum: Checksum | None = None) -> None:
        """Begin to write into a file, with a checksum other than ISA-L's if one is given."""
        self._module = zipfile if checksum is None else zipfile_with(checksum)
        self.zip: ZipFile = self._module.ZipFile(file, "w")
        self._file = file
        self._starts: dict[str, int] = {}  # where the bytes of each member begin

    def open(self, member: str | ZipInfo) -> IO[bytes]:
        """Begin to write a member."""
        opened = self.zip.open(member, "w")
        self._starts[member if isinstance(member, str) else member.filename] = self._file.tell()
        return opened

    def add(self, name: str, parts: list[Buffer]) -> None:
        """Do the steps of ZipFile.writestr with bytes in several parts."""
        info = self._module.ZipInfo(name, time.localtime(time.time())[:6])
        info.external_attr = 0o600 << 16
        info.file_size = sum(map(len, parts))
        with self.open(info) as member:
            for part in parts:
                member.write(part)

    def places(self, tensors: Mapping[str, Sequence[Range]]) -> list[Range]:
        """Return the places of all members in order; of some, those of the tensors inside.

        No member was written in another way than with open and add.
        """
        found: list[Range] = []
        for member in self.zip.infolist():
            start = self._starts[member.filename]
            inside = tensors.get(member.filename) or [(0, member.file_size)]
            found += [(start + begin, start + end) for begin, end in inside]
        return found

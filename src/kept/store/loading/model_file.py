"""Checks a checkpoint before Keras reads it, and says which Keras has written it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from kept.errors import InvalidInput
from kept.store.loading.config import check_config
from kept.store.loading.hdf5 import check_hdf5, limit, root_attributes

if TYPE_CHECKING:
    from collections.abc import Iterator

_WEIGHTS, _CONFIG, _METADATA = "model.weights.h5", "config.json", "metadata.json"  # in a .keras
_MAX_JSON = 64 * 2**20  # bytes
_NO_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    ValueError,
)
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip: magic, length of the name, of extra fields


def keras_of(file: Path) -> str | None:
    """Return "2" or "3", the Keras that has written a whole model; None if the file lacks it."""
    if file.suffix == ".keras":
        with _archive(file) as archive:
            content = _json(archive, _METADATA) if _METADATA in archive.namelist() else {}
            found = content.get("keras_version") if isinstance(content, dict) else None
    else:
        found = next(iter(root_attributes(file, "keras_version")), None)
    return major(found)


def major(version: Any) -> str | None:
    """Return "2" or "3" for a version of Keras, None for other values."""
    text = version if isinstance(version, str) else ""
    return {"1": "2", "2": "2", "3": "3"}.get(text.partition(".")[0])


def check_model(file: Path) -> None:
    """Raise InvalidInput for a whole model that Keras 3 must not load in safe mode."""
    check_weights(file)
    if file.suffix == ".keras":
        check_config(config_of(file))
        return
    for text in root_attributes(file, "model_config", "training_config"):
        check_config(_parsed(text.encode()))


def config_of(file: Path) -> Any:
    """Return the config of a .keras file; raise InvalidInput for one that is damaged."""
    with _archive(file) as archive:
        return _json(archive, _CONFIG)


def check_weights(file: Path) -> None:
    """Raise InvalidInput for a .keras or .h5 file whose weights Keras must not read."""
    size = file.stat().st_size
    if file.suffix != ".keras" or _is_hdf5(file):
        check_hdf5(file, size)
        return
    with _archive(file) as archive, _member(archive, _WEIGHTS) as weights:
        check_hdf5(weights, size)


def _is_hdf5(file: Path) -> bool:
    """Return whether tf_keras reads a .keras file as HDF5: it writes weights of that name so."""
    with open(file, "rb") as opened:
        return opened.read(8) == b"\x89HDF\r\n\x1a\n" and not zipfile.is_zipfile(file)


def checked_weights(file: BinaryIO, path: str, size: int) -> tuple[BinaryIO, int]:
    """Return the HDF5 file of the weights, and where it begins in a .keras or .weights.h5 file.

    The checks read no values. Raises InvalidInput as check_weights does, and for a file that is
    compressed, because such a file cannot be read in ranges.
    """
    weights, start = file, 0
    if path.endswith(".keras"):
        with _archive(file, size) as archive:
            member = archive.getinfo(_WEIGHTS)
            if not _is_plain(member):
                raise InvalidInput(f"its {_WEIGHTS} is compressed")
            start = _start_of(member, file)
            # Without a buffer: it would read on into values, and so fetch large chunks.
            weights = cast("BinaryIO", _Part(file, start, member.file_size))
    check_hdf5(weights, size)
    return weights, start


@contextlib.contextmanager
def _archive(file: Path | BinaryIO, size: int | None = None) -> Iterator[zipfile.ZipFile]:
    """Open a .keras file; raise InvalidInput for one that Keras must not unpack."""
    try:
        with zipfile.ZipFile(file) as archive:
            stored = file.stat().st_size if isinstance(file, Path) else size
            _check_members(archive, stored or 0)
            yield archive
    except InvalidInput:
        raise
    except _NO_ZIP as error:
        raise InvalidInput(f"it is no .keras file: {error}") from None


def _check_members(archive: zipfile.ZipFile, stored: int) -> None:
    members = archive.infolist()
    if len({member.filename for member in members}) < len(members):
        raise InvalidInput("it is a zip file with two members of one name")
    for member in members:
        path = member.filename
        if path.startswith("/") or "\\" in path or ".." in path.split("/"):
            raise InvalidInput(f"it is a zip file with the path {path!r}")
    needed = sum(member.file_size for member in members)
    if needed > limit(stored):
        raise InvalidInput(
            f"it unpacks to {needed:,} bytes; expected up to {limit(stored):,} for a file of "
            f"{stored:,} bytes"
        )


def _json(archive: zipfile.ZipFile, name: str) -> Any:
    size = archive.getinfo(name).file_size
    if size > _MAX_JSON:
        raise InvalidInput(f"its {name} has {size:,} bytes; expected up to {_MAX_JSON:,}")
    return _parsed(archive.read(name))


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"its config is not JSON: {type(error).__name__}: {error}") from None


@contextlib.contextmanager
def _member(archive: zipfile.ZipFile, name: str) -> Iterator[BinaryIO]:
    """Open a member for reads at any position; only a compressed one is read into memory."""
    member = archive.getinfo(name)
    if not _is_plain(member):
        yield io.BytesIO(archive.read(member))
        return
    assert archive.filename is not None
    with open(archive.filename, "rb", buffering=0) as file:
        yield io.BufferedReader(_Part(file, _start_of(member, file), member.file_size))


def _is_plain(member: zipfile.ZipInfo) -> bool:
    """Return whether a file holds the bytes of a member as they are."""
    return member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1


def _start_of(member: zipfile.ZipInfo, file: BinaryIO) -> int:
    """Return where the bytes of a member begin."""
    file.seek(member.header_offset)
    magic, name_size, extra_size = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if magic != b"PK\3\4":
        raise zipfile.BadZipFile(f"{member.filename} is not where the list of members says")
    return int(member.header_offset + _LOCAL_HEADER.size + name_size + extra_size)


class _Part(io.RawIOBase):
    """A range of a file, as a file."""

    def __init__(self, file: Any, start: int, size: int) -> None:
        self._file = file
        self._start, self._size, self._at = start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self._size - self._at))
        self._file.seek(self._start + self._at)
        found = int(self._file.readinto(memoryview(buffer)[:wanted]))
        self._at += found
        return found

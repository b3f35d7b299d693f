"""Files of any size and in any number of buffers come to the disk whole, or not at all."""

import errno
import fcntl
import os
import random
import sys

import pytest

from kept.bucket import disk

LARGE = 1024 * 1024  # from here on the kernel's cache is passed by
SIZES = [
    *([], [0], [1], [4096], [999, 1, 1]),
    *([LARGE], [LARGE, 1], [LARGE - 1, 0, 2], [16, 3 * LARGE - 16], [5, 2 * LARGE + 4095, 700]),
]


def parts_of(sizes):
    return [random.Random(n).randbytes(size) for n, size in enumerate(sizes)]


def is_direct(fd):
    return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)


@pytest.fixture
def writes(monkeypatch):
    """The writes at an offset: how long each was, and whether it passed the cache by."""
    real, done = os.pwrite, []

    def noting(fd, data, offset):
        done.append((len(data), is_direct(fd)))
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", noting)
    return done


@pytest.mark.parametrize("sizes", SIZES)
def test_whole(tmp_path, sizes):
    parts = parts_of(sizes)
    disk.write_file(str(tmp_path / "f"), parts)
    assert (tmp_path / "f").read_bytes() == b"".join(parts)


@pytest.mark.skipif(sys.platform != "linux", reason="has no O_DIRECT")
@pytest.mark.parametrize(("size", "blocks"), [(LARGE - 1, []), (LARGE + 1, [LARGE, 4096])])
def test_what_is_large_passes_the_cache_by(tmp_path, writes, size, blocks):
    disk.write_file(str(tmp_path / "f"), parts_of([size]))
    assert writes == [(length, True) for length in blocks]


@pytest.mark.parametrize("sizes", SIZES)
def test_a_file_system_without_direct_writes(tmp_path, monkeypatch, writes, sizes):
    real = fcntl.fcntl

    def refusing(fd, command, *flags):
        if command == fcntl.F_SETFL:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(fd, command, *flags)

    monkeypatch.setattr(fcntl, "fcntl", refusing)
    parts = parts_of(sizes)
    disk.write_file(str(tmp_path / "f"), parts)
    assert (tmp_path / "f").read_bytes() == b"".join(parts)
    assert writes == []


@pytest.mark.parametrize("taken", [7, 4096, LARGE - 1])
def test_short_writes_are_continued(tmp_path, monkeypatch, taken):
    """Also where what was taken ends within a block: the next write has to use the cache."""
    real, offsets = os.pwrite, []

    def short(fd, data, offset):
        offsets.append(offset)
        if len(offsets) == 2:
            return real(fd, bytes(data[:taken]), offset) if not is_direct(fd) else cached(fd, data)
        return real(fd, data, offset)

    def cached(fd, data):
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_DIRECT)
        try:
            return real(fd, data[:taken], offsets[-1])
        finally:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags)

    monkeypatch.setattr(os, "pwrite", short)
    parts = parts_of([100, 3 * LARGE + 5])
    disk.write_file(str(tmp_path / "f"), parts)
    assert (tmp_path / "f").read_bytes() == b"".join(parts)
    assert LARGE + taken in offsets


@pytest.mark.parametrize(("call", "code"), [("pwrite", errno.ENOSPC), ("fsync", errno.EIO)])
def test_a_failure_leaves_nothing(tmp_path, monkeypatch, call, code):
    real, done = getattr(os, call), []

    def failing(*arguments):
        done.append(arguments)
        if len(done) == (3 if call == "pwrite" else 1):
            raise OSError(code, os.strerror(code))
        return real(*arguments)

    monkeypatch.setattr(os, call, failing)
    with pytest.raises(OSError, match=os.strerror(code)):
        disk.write_file(str(tmp_path / "f"), [bytes(4 * LARGE)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1, 3 * LARGE])
def test_the_last_call_is_a_sync(tmp_path, monkeypatch, size):
    calls = []
    for name in ("write", "writev", "pwrite", "ftruncate", "fsync"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *args, real=real, name=name: (calls.append(name), real(*args))[1]
        )
    disk.write_file(str(tmp_path / "f"), [bytes(size)])
    assert calls.count("fsync") == 1
    assert calls[-1] == "fsync"
    assert len(calls) > 1


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "f").write_text("before")
    with pytest.raises(FileExistsError):
        disk.write_file(str(tmp_path / "f"), [b"after"])
    assert (tmp_path / "f").read_text() == "before"

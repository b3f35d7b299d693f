"""Files of any size and in any number of buffers come to the disk whole, or not at all."""

import errno
import os
import random
import threading

import pytest

from kept.bucket import disk


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(disk, "_PIECE", 1000)


@pytest.mark.parametrize("sizes", [[], [0], [1], [1000], [999, 1, 1], [3000], [5, 2500, 0, 700]])
def test_whole(tmp_path, sizes):
    parts = [random.Random(n).randbytes(size) for n, size in enumerate(sizes)]
    disk.write_file(str(tmp_path / "f"), parts)
    assert (tmp_path / "f").read_bytes() == b"".join(parts)


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[:7], at))
    data = random.Random(0).randbytes(2345)
    disk.write_file(str(tmp_path / "f"), [data])
    assert (tmp_path / "f").read_bytes() == data


@pytest.mark.parametrize(("call", "code"), [("pwrite", errno.ENOSPC), ("fsync", errno.EIO)])
def test_a_failure_leaves_nothing(tmp_path, monkeypatch, call, code):
    real, done = getattr(os, call), []

    def fails_the_third_time(*arguments):
        done.append(arguments)
        if len(done) == 3:
            raise OSError(code, os.strerror(code))
        return real(*arguments)

    monkeypatch.setattr(os, call, fails_the_third_time)
    with pytest.raises(OSError, match=os.strerror(code)):
        disk.write_file(str(tmp_path / "f"), [bytes(9000)])
    assert list(tmp_path.iterdir()) == []


def test_every_byte_is_synced_after_it_was_written(tmp_path, monkeypatch):
    """Each piece is followed by a sync of its thread, and the last call is a sync of the file."""
    calls, write, sync = [], os.pwrite, os.fsync

    def noting_write(*arguments):
        calls.append(("write", threading.get_ident()))
        return write(*arguments)

    def noting_sync(fd):
        calls.append(("sync", threading.get_ident()))
        sync(fd)

    monkeypatch.setattr(os, "pwrite", noting_write)
    monkeypatch.setattr(os, "fsync", noting_sync)
    disk.write_file(str(tmp_path / "f"), [bytes(5500)])
    assert calls[-1] == ("sync", threading.get_ident())
    for thread in {thread for _, thread in calls}:
        own = [what for what, by in calls if by == thread]
        assert own == ["write", "sync"] * (len(own) // 2) or own == ["sync"]


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "f").write_text("before")
    with pytest.raises(FileExistsError):
        disk.write_file(str(tmp_path / "f"), [b"after"])
    assert (tmp_path / "f").read_text() == "before"

"""Files of any size and in any number of buffers come to the disk whole, or not at all."""

import errno
import fcntl
import os
import random
import stat

import pytest

from kept.bucket import file_io
from kept.bucket.local import LocalBucket

BUFFER, LARGE = 1024 * 1024, 2 * 1024 * 1024
SIZES = [
    *([], [0], [1], [4096], [999, 1, 1]),
    *([LARGE], [LARGE, 1], [LARGE - 1, 0, 2], [16, 3 * LARGE - 16], [5, 2 * LARGE + 4095, 700]),
]
DIRECT = getattr(os, "O_DIRECT", 0)


def parts_of(sizes):
    return [random.Random(n).randbytes(size) for n, size in enumerate(sizes)]


def is_direct(fd):
    return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & DIRECT)


@pytest.fixture(autouse=True)
def large(monkeypatch):
    monkeypatch.setattr(file_io, "_LARGE", LARGE)


@pytest.fixture
def direct(tmp_path):
    """Skips if direct writes are not available."""
    with open(tmp_path / "probe", "wb") as file:
        if not file_io._is_on_a_disk(file.fileno()) or not file_io._set_direct(
            file.fileno(), on=True
        ):
            pytest.skip("no O_DIRECT here")
    (tmp_path / "probe").unlink()


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
    file_io.write_file(str(tmp_path / "f"), parts)
    assert (tmp_path / "f").read_bytes() == b"".join(parts)


@pytest.mark.usefixtures("direct")
@pytest.mark.parametrize(
    ("size", "blocks"),
    [
        (LARGE - 1, []),
        (LARGE, [(BUFFER, True)] * 2),
        (LARGE + 4097, [(BUFFER, True)] * 2 + [(4096, True), (1, False)]),
    ],
)
def test_whole_blocks_of_what_is_large_pass_the_cache_by(tmp_path, writes, size, blocks):
    file_io.write_file(str(tmp_path / "f"), [memoryview(bytes(size))])
    assert writes == blocks


@pytest.mark.usefixtures("direct")
def test_a_size_is_in_bytes(tmp_path, writes):
    file_io.write_file(str(tmp_path / "f"), [memoryview(bytes(LARGE)).cast("Q")])
    assert len(writes) == 2


@pytest.mark.parametrize("why", ["no flag", "no disk"])
def test_where_there_are_no_direct_writes(tmp_path, monkeypatch, writes, why):
    real = fcntl.fcntl

    def refusing(fd, command, *flags):
        if command == fcntl.F_SETFL:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(fd, command, *flags)

    if why == "no flag":
        monkeypatch.setattr(fcntl, "fcntl", refusing)
    else:
        monkeypatch.setattr(os, "major", lambda _: 0)
    for n, sizes in enumerate(SIZES):
        parts = parts_of(sizes)
        file_io.write_file(str(tmp_path / f"{n}"), parts)
        assert (tmp_path / f"{n}").read_bytes() == b"".join(parts)
    assert writes == []


@pytest.mark.usefixtures("direct")
@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_wants_other_blocks(tmp_path, monkeypatch, code):
    """It takes the flag, and then no write: all goes through the cache."""
    real, refused = os.pwrite, []

    def refusing(fd, data, offset):
        if is_direct(fd):
            refused.append(offset)
            raise OSError(code, os.strerror(code))
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", refusing)
    parts = parts_of([100, LARGE])
    file_io.write_file(str(tmp_path / "f"), parts)
    assert (tmp_path / "f").read_bytes() == b"".join(parts)
    assert refused == [0]


@pytest.mark.parametrize("taken", [7, 4096, BUFFER - 1])
def test_short_writes_are_continued(tmp_path, monkeypatch, taken):
    """Also where what was taken ends within a block: the next write has to use the cache."""
    real, offsets = os.pwrite, []

    def short(fd, data, offset):
        offsets.append(offset)
        if len(offsets) != 2:
            return real(fd, data, offset)
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~DIRECT)
        try:
            return real(fd, data[:taken], offset)
        finally:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags)

    monkeypatch.setattr(os, "pwrite", short)
    monkeypatch.setattr(file_io, "_is_on_a_disk", lambda _: True)
    parts = parts_of([100, 3 * LARGE + 5])
    file_io.write_file(str(tmp_path / "f"), parts)
    assert (tmp_path / "f").read_bytes() == b"".join(parts)
    assert not offsets or BUFFER + taken in offsets


@pytest.mark.parametrize("size", [5, 2 * LARGE])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("at", [1, 3])
def test_a_failure_leaves_nothing(tmp_path, monkeypatch, size, code, at):
    """The first call fails, or the third: of a small file that is none, so its sync does."""
    done = []

    def failing(real):
        def call(*arguments):
            done.append(real)
            if len(done) == min(at, 2 if size == 5 else at):
                raise OSError(code, os.strerror(code))
            return real(*arguments)

        return call

    for name in ("writev", "pwrite", "fsync"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    with pytest.raises(OSError, match=os.strerror(code)):
        file_io.write_file(str(tmp_path / "f"), [bytes(size)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1, 3 * LARGE + 1])
def test_the_last_call_is_a_sync(tmp_path, monkeypatch, size):
    calls = []
    for name in ("writev", "pwrite", "fsync"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *args, real=real, name=name: (calls.append(name), real(*args))[1]
        )
    file_io.write_file(str(tmp_path / "f"), [bytes(size)])
    assert calls.count("fsync") == 1
    assert calls[-1] == "fsync"
    assert len(calls) > 1


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "f").write_text("before")
    with pytest.raises(FileExistsError):
        file_io.write_file(str(tmp_path / "f"), [b"after"])
    assert (tmp_path / "f").read_text() == "before"


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_syncs_no_folders(tmp_path, monkeypatch, code):
    refuse_folders(monkeypatch, code)
    file_io.sync_folder(str(tmp_path))
    bucket = LocalBucket(tmp_path / "bucket")
    bucket.put_if_absent("a/b", [b"data"])
    assert bucket.get("a/b") == b"data"


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_folder_that_could_not_be_synced_is_an_error(tmp_path, monkeypatch, code):
    refuse_folders(monkeypatch, code)
    with pytest.raises(OSError, match=os.strerror(code)):
        file_io.sync_folder(str(tmp_path))


def refuse_folders(monkeypatch, code):
    real = os.fsync

    def fsync(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(code, os.strerror(code))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)

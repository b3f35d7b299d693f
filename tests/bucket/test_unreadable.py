"""Whatever a local bucket cannot read is named, with its path, and never waited for."""

import errno
import os
import socket
import threading

import pytest

from kept.bucket import local
from kept.bucket.local import LocalBucket
from kept.errors import KeyExists, KeyNotFound, NotDurable, Unreadable


@pytest.fixture
def bucket(tmp_path):
    bucket = LocalBucket(tmp_path / "bucket")
    bucket.put("a/key", [b"value"])
    bucket.put("a/other", [b"other"])
    return bucket


def failing(monkeypatch, name, code, path):
    """Make a call of the os module fail for one path."""
    real = getattr(os, name)

    def call(given, *args, **options):
        found = os.readlink(f"/proc/self/fd/{given}") if isinstance(given, int) else given
        if found == path:
            raise OSError(code, os.strerror(code))
        return real(given, *args, **options)

    monkeypatch.setattr(os, name, call)


# --- errors of the operating system ---------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE, errno.EPERM])
@pytest.mark.parametrize("call", ["open", "pread"])
def test_a_value_that_the_disk_cannot_read(bucket, monkeypatch, call, code):
    path = f"{bucket.root}/a/key"
    failing(monkeypatch, call, code, path)
    with pytest.raises(Unreadable) as caught:
        bucket.get("a/key")
    assert str(caught.value) == f"{path} cannot be read: {os.strerror(code)}"
    assert bucket.get("a/other") == b"other"


@pytest.mark.parametrize("name", ["size", "items"])
def test_facts_that_the_disk_cannot_read(bucket, monkeypatch, name):
    path = f"{bucket.root}/a/key"
    for call in ("stat", "lstat"):
        failing(monkeypatch, call, errno.EIO, path)
    with pytest.raises(Unreadable, match="a/key cannot be read: Input/output error"):
        bucket.size("a/key") if name == "size" else list(bucket.items("a/"))


def test_a_folder_that_the_disk_cannot_read(bucket, monkeypatch):
    failing(monkeypatch, "scandir", errno.EIO, f"{bucket.root}/a")
    with pytest.raises(Unreadable, match="bucket/a cannot be read: Input/output error"):
        list(bucket.keys("a/"))
    assert list(bucket.folders("")) == ["a"]  # it exists; reading it names the error


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_shortage_of_the_process_is_no_damage(bucket, monkeypatch, code):
    failing(monkeypatch, "open", code, f"{bucket.root}/a/key")
    with pytest.raises(OSError, match=r"a/key") as caught:
        bucket.get("a/key")
    assert caught.value.errno == code


# --- something else in its place ------------------------------------------------------------------


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    folder = os.open(os.path.dirname(path), os.O_RDONLY)  # a long path is none for a socket
    try:
        socket.socket(socket.AF_UNIX).bind(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
    finally:
        os.close(folder)


def make_device(path):
    os.symlink("/dev/zero", path)


def make_folder(path):
    os.mkdir(path)


def make_link_to_nowhere(path):
    os.symlink("nowhere", path)


def make_loop(path):
    os.symlink(path, path)


# A reader that waits for one of them makes the test wait, too: without an end.
OTHERS = [make_fifo, make_socket, make_device, make_folder, make_link_to_nowhere, make_loop]


@pytest.fixture(params=OTHERS)
def other(bucket, request):
    """The path of a value in whose place something else lies."""
    path = f"{bucket.root}/a/key"
    os.unlink(path)
    request.param(path)
    return path


def test_something_else_is_named_and_not_waited_for(bucket, other):
    for read in (bucket.get, bucket.size):
        with pytest.raises(Unreadable, match=other):
            read("a/key")
    with pytest.raises(Unreadable, match=other):
        bucket.get("a/key", 0, 1)
    with pytest.raises(KeyExists):
        bucket.put_if_absent("a/key", [b"new"])
    listed = ["a/other"] if os.path.isdir(other) else ["a/key", "a/other"]
    assert list(bucket.keys("a/")) == [item.key for item in bucket.items("a/")] == listed
    assert list(bucket.folders("")) == ["a"]


def test_put_replaces_all_but_a_folder(bucket, other):
    if os.path.isdir(other):
        with pytest.raises(Unreadable, match=f"{other} is a folder, expected a file"):
            bucket.put("a/key", [b"new"])
        return
    bucket.put("a/key", [b"new"])
    assert bucket.get("a/key") == b"new"


def test_move_moves_whatever_lies_there(bucket, other):
    def kind(path):
        return os.lstat(path).st_mode, os.lstat(path).st_ino

    before = kind(other)
    bucket.move("a/key", "damaged/a/key")
    assert kind(f"{bucket.root}/damaged/a/key") == before
    assert bucket.size("a/key") is None
    bucket.put("a/key", [b"again"])
    with pytest.raises(KeyExists, match="damaged/a/key"):
        bucket.move("a/key", "damaged/a/key")
    assert kind(f"{bucket.root}/damaged/a/key") == before


def test_a_value_that_cannot_be_read_can_be_moved(bucket, monkeypatch):
    failing(monkeypatch, "open", errno.EIO, f"{bucket.root}/a/key")
    bucket.move("a/key", "damaged/key")
    assert bucket.get("damaged/key") == b"value"


def test_what_hides_a_folder_is_named(bucket, tmp_path):
    os.rename(f"{bucket.root}/a", tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", f"{bucket.root}/a")
    assert bucket.get("a/key") == b"value"  # a user may put a folder on another disk
    assert bucket.size("a/missing") is None
    os.rename(tmp_path / "elsewhere", tmp_path / "not mounted")
    for call in (bucket.get, bucket.size):
        with pytest.raises(Unreadable, match=f"{bucket.root}/a is a link to .*missing"):
            call("a/key")
    with pytest.raises(Unreadable, match="is a link"):
        list(bucket.keys("a/"))
    assert list(bucket.folders("")) == ["a"]
    os.unlink(f"{bucket.root}/a")
    assert list(bucket.keys("a/")) == []
    with open(f"{bucket.root}/a", "w"):
        pass
    for call in (bucket.get, bucket.size, lambda _: list(bucket.keys("a/"))):
        with pytest.raises(Unreadable, match=f"{bucket.root}/a is a file, expected a folder"):
            call("a/key")
    with pytest.raises(Unreadable, match="expected a folder"):
        LocalBucket(bucket.root).put("a/key", [b"x"])


def test_links_to_files_are_followed(bucket, tmp_path):
    os.rename(f"{bucket.root}/a/key", tmp_path / "file")
    os.symlink(tmp_path / "file", f"{bucket.root}/a/key")
    assert (bucket.get("a/key"), bucket.size("a/key")) == (b"value", 5)


def test_names_that_are_no_keys_are_left_out(bucket):
    for name in ("@eaDir", "two words", "Gr\u00f6\u00dfe"):
        os.makedirs(f"{bucket.root}/a/{name}/below")
        for path in (f"{bucket.root}/a/{name}.json", f"{bucket.root}/a/{name}/below/file"):
            with open(path, "w"):
                pass
    with open(os.fsencode(bucket.root) + b"/a/\xff\xfe", "w"):
        pass
    with open(f"{bucket.root}/a/.DS_Store", "w"):
        pass
    assert list(bucket.keys("a/")) == ["a/.DS_Store", "a/key", "a/other"]
    assert [item.key for item in bucket.items("a/")] == list(bucket.keys("a/"))
    assert list(bucket.folders("a/")) == []
    assert "a/two words.json" in list(bucket.keys(""))  # it shows that the place holds something


# --- after the commit -----------------------------------------------------------------------------


def fail_after_naming(monkeypatch, *names):
    """Make calls of the os module fail in this thread as soon as a file has got its name."""
    named = threading.local()

    def watch(name, is_naming):
        real = getattr(os, name)

        def call(*args, **options):
            if not is_naming and getattr(named, "is_done", False):
                if name == "close":
                    real(*args, **options)
                raise OSError(errno.EIO, "Input/output error")
            result = real(*args, **options)
            named.is_done = is_naming or getattr(named, "is_done", False)
            return result

        monkeypatch.setattr(os, name, call)

    for name in ("link", "replace"):
        watch(name, is_naming=True)
    for name in names:
        watch(name, is_naming=False)


@pytest.mark.parametrize("store", ["put", "put_if_absent"])
def test_an_error_after_the_name_is_given_is_none(bucket, monkeypatch, store):
    fail_after_naming(monkeypatch, "close", "unlink", "scandir")
    getattr(bucket, store)("a/new", [b"new"])
    assert bucket.get("a/new") == b"new"


@pytest.mark.parametrize(
    ("store", "args"),
    [
        ("put", ("a/new", [b"new"])),
        ("put_many", ([("a/new", [b"new"])],)),
        ("put_if_absent", ("a/new", [b"new"])),
    ],
)
def test_a_name_that_the_disk_did_not_confirm(bucket, monkeypatch, store, args):
    def fail(folder):
        raise OSError(errno.EIO, "Input/output error", folder)

    with monkeypatch.context() as patch:
        patch.setattr(local, "sync_folder", fail)
        with pytest.raises(NotDurable, match="bucket/a: the new files are stored") as caught:
            getattr(bucket, store)(*args)
    assert isinstance(caught.value, OSError)
    assert bucket.get("a/new") == b"new"


def test_the_error_of_a_write_names_the_file(bucket, monkeypatch):
    def fail(*_):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "writev", fail)
    with pytest.raises(OSError, match=f"{bucket.root}/a/new"):
        bucket.put("a/new", [b"new"])
    with pytest.raises(KeyNotFound):
        bucket.get("a/new")

"""The files of a version replace those of the same names: all of them, or none."""

import os
import signal
import tempfile
from pathlib import Path

import pytest

import kept
from kept.store.content import replace_files
from kept.workspace import FilesLeft
from tests.helpers import finish, start, tree, write

NEW = {f"v/{path}": b"new" for path in ("a", "b", "d/c", "e/f/g", "z")}
OLD = {"v/a": b"old", "v/d/c": b"old", "v/d/mine": b"mine", "v/z": b"old"}


@pytest.fixture
def version(tmp_path):
    for path, data in NEW.items():
        write(tmp_path / path, data)
    return kept.open_store(tmp_path / "store").log_artifact("m", tmp_path / "v")


@pytest.fixture
def out(tmp_path):
    for path, data in OLD.items():
        write(tmp_path / "out" / path, data)
    (tmp_path / "out/v/b").symlink_to("d/mine")
    return tmp_path / "out"


def everything(folder):
    """Files, links and folders below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        found[name] = os.readlink(path) if path.is_symlink() else path.is_dir() or path.read_bytes()
    return found


class Failing:
    """A function of os that fails at one call, before or after it has done its work."""

    def __init__(self, monkeypatch, name, error, at, *, done=False, for_good=False):
        self._real, self._error, self._at = getattr(os, name), error, at
        self._done, self._for_good, self.calls = done, for_good, 0
        monkeypatch.setattr(os, name, self)

    def __call__(self, *args, **options):
        self.calls += 1
        if self.calls != self._at and not (self._for_good and self.calls > self._at):
            return self._real(*args, **options)
        if self._done:
            self._real(*args, **options)
        raise self._error


ERRORS = [OSError(5, "Input/output error"), KeyboardInterrupt(), MemoryError()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(
    ("name", "links"), [("replace", True), ("replace", False), ("link", True), ("rename", False)]
)
def test_an_error_at_any_step_leaves_what_was_there(
    version, out, monkeypatch, name, links, error, done
):
    before, failed, at = everything(out), 0, 0
    while True:
        at += 1
        with monkeypatch.context() as patch:
            if not links:
                Failing(patch, "link", OSError(1, "Operation not permitted"), 1, for_good=True)
            failing = Failing(patch, name, error, at, done=done)
            try:
                version.download(out)
            except type(error):
                assert everything(out) == before
                failed += 1
                continue
        break
    # The 5 new files, or the 4 replaced ones. What cannot be linked is renamed.
    is_needed = name != "link" or not isinstance(error, OSError)
    assert failed == is_needed * (5 if name == "replace" else 4)
    assert failing.calls >= failed
    assert tree(out) == OLD | NEW
    assert not (out / "v/b").is_symlink()


def test_ctrl_c_while_files_are_put_back(version, out, monkeypatch):
    """The last of the renames fails, and each of the others is interrupted after it."""
    before, presses = everything(out), []
    replace = os.replace

    def interrupted(source, target):
        replace(source, target)
        if str(source).endswith(".before") and len(presses) < 3:
            presses.append(source)
            raise KeyboardInterrupt

    def last_fails(source, target):
        if str(target).endswith("z") and not presses:
            monkeypatch.setattr(os, "replace", interrupted)
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", last_fails)
    with pytest.raises(OSError, match="No space left") as caught:
        version.download(out)
    assert len(presses) == 3
    assert str(caught.value) == f"[Errno 28] No space left on device: '{out / 'v/z'}'"
    assert everything(out) == before


def test_what_cannot_be_put_back_is_kept_and_named(version, out, monkeypatch):
    Failing(monkeypatch, "replace", OSError(30, "Read-only file system"), 4, for_good=True)
    with pytest.raises(FilesLeft, match=r"Read-only.*3 files could not be put back") as caught:
        version.download(out)
    assert "None" not in str(caught.value)
    kept_in = Path(caught.value.filename)
    assert kept_in.parent == out
    assert str(out / "v/a") in str(caught.value)
    assert os.readlink(kept_in / "1.before") == "d/mine"
    assert [(kept_in / f"{number}.before").read_bytes() for number in (0, 2)] == [b"old", b"old"]


def test_a_folder_that_appears_meanwhile_is_not_replaced(version, out, monkeypatch):
    make = replace_files.Folders.make

    def make_another(self, folder):
        make(self, folder)
        if folder == out / "v/e/f":
            write(folder / "g/precious", b"mine")

    monkeypatch.setattr(replace_files.Folders, "make", make_another)
    with pytest.raises(IsADirectoryError) as caught:
        version.download(out)
    assert caught.value.filename == str(out / "v/e/f/g")
    assert tree(out) == OLD | {"v/b": b"mine", "v/e/f/g/precious": b"mine"}


KILLED = """
import os, signal, sys, kept
replace, calls = os.replace, []
def killed(source, target):
    if len(calls) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    calls.append(target)
    replace(source, target)
os.replace = killed
kept.open_store(sys.argv[1]).version("m").download(sys.argv[2])
"""


@pytest.mark.parametrize("calls", range(5))
def test_a_kill_leaves_each_file_old_or_new(version, out, tmp_path, calls):
    process = start(KILLED, tmp_path / "store", out, calls)
    assert process.wait() == -signal.SIGKILL
    for path in OLD | NEW:
        if path in OLD or (out / path).exists():
            assert (out / path).read_bytes() in (b"old", b"new", b"mine")
    version.download(out)
    assert {path: (out / path).read_bytes() for path in NEW} == NEW


AS_NOBODY = """
import os, sys, kept
kept.open_store(sys.argv[1]).version("m").download(sys.argv[3])  # imports all modules
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    kept.open_store(sys.argv[1]).version("m").download(sys.argv[2])
except PermissionError as error:
    print(error.filename)
"""


def test_a_folder_that_cannot_be_written(tmp_path):
    """The second of two folders belongs to another user."""
    with tempfile.TemporaryDirectory(prefix="kept-test-") as name:
        root = Path(name)
        for path in ("v/a", "v/d/c", "out/v/a", "out/v/d/c"):
            write(root / path, b"old" if path.startswith("out") else b"new")
        kept.open_store(root / "store").log_artifact("m", root / "v")
        for path in [root, *root.rglob("*")]:
            path.chmod(0o777 if path.is_dir() else 0o666)
        (root / "out/v/d").chmod(0o555)
        before = everything(root / "out")
        [line] = finish(start(AS_NOBODY, root / "store", root / "out", tmp_path / "o"))
        assert line == str(root / "out/v/d/c")
        assert everything(root / "out") == before


def test_an_error_while_cleaning_up_is_no_failure(version, out, monkeypatch):
    def failing(*_, **__):
        raise OSError(5, "Input/output error")

    for name in ("unlink", "rmdir"):
        monkeypatch.setattr(os, name, failing)
    assert version.download(out) == out
    assert {path: (out / path).read_bytes() for path in NEW} == NEW

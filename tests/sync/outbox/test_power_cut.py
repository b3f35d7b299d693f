"""A power cut after any call: every entry that was added exists, and what exists is whole."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from kept.errors import Damaged
from kept.sync.outbox import outbox as outbox_module
from kept.sync.outbox import rejected
from kept.sync.outbox.outbox import Outbox
from tests.helpers import write
from tests.sync.outbox.power_cut import PowerCut


def content(n):
    return {"artifact": "m", "aliases": [f"epoch_{n}", "best"], "n": n}


class Cuts:
    """Runs calls, and looks after each step at what two kinds of disk would keep."""

    def __init__(self, tmp_path, monkeypatch, elsewhere=None):
        self.folder = tmp_path / "run"
        self.folder.mkdir()
        self.files = elsewhere or self.folder
        self.disks = tmp_path / "disks"
        self.watch = PowerCut(monkeypatch, self.folder, *([elsewhere] if elsewhere else []))
        self.outbox = Outbox(self.folder / "outbox")
        self.added = {}  # number in the content -> entry
        self.leaving = set()  # numbers of those whose confirmation has begun
        self.notes = {}  # number -> the refusal that was noted
        self.noting = set()  # numbers of those that a note is being written for
        self.moments = 0
        self.watch.on_step = self.check

    def add(self, n):
        names = [f"m{n}.keras", f"state{n}.json"]
        files = {name: write(self.files / name, name.encode() * 100) for name in names}
        self.added[n] = self.outbox.add("there", files, content(n), self.files)
        self.check()

    def confirm(self, n):
        self.leaving.add(n)
        self.outbox.confirm(self.added[n])
        self.check()

    def note(self, n, write_note):
        self.noting.add(n)
        write_note(self.added[n])
        self.noting.discard(n)
        self.notes[n] = rejected.rejection_of(self.added[n])
        self.check()

    def check(self):
        on_step, self.watch.on_step = self.watch.on_step, lambda: None
        for kind in ("lazy", "eager"):
            self.disks.mkdir()
            moved = self.watch.write(kind, str(self.disks))
            self._look(Outbox(f"{moved[str(self.folder)]}/outbox").entries())
            shutil.rmtree(self.disks)
        self.moments += 1
        self.watch.on_step = on_step

    def _look(self, entries):
        found = [entry.info["n"] for entry in entries]
        assert found == sorted(set(found))
        assert set(found) >= set(self.added) - self.leaving
        for entry in entries:
            n = entry.info["n"]
            assert entry.info == content(n)
            assert [file.path for file in entry.files] == [f"m{n}.keras", f"state{n}.json"]
            for file in entry.files:
                assert Path(file.file).read_bytes() == file.path.encode() * 100
            note = rejected.rejection_of(entry)
            assert n in self.noting or note == self.notes.get(n)


@pytest.fixture
def cuts(tmp_path, monkeypatch):
    return Cuts(tmp_path, monkeypatch)


@pytest.fixture
def elsewhere():
    with tempfile.TemporaryDirectory(prefix="kept-test-", dir="/dev/shm") as folder:
        yield Path(folder)


def run(cuts):
    for n in range(3):
        cuts.add(n)
    cuts.confirm(0)
    cuts.add(3)
    cuts.confirm(1)


def test_every_moment_is_a_good_one(cuts):
    run(cuts)
    assert [entry.info["n"] for entry in cuts.outbox.entries()] == [2, 3]
    assert cuts.moments > 40


def test_every_moment_is_a_good_one_on_another_file_system(tmp_path, monkeypatch, elsewhere):
    if elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system only")
    cuts = Cuts(tmp_path, monkeypatch, elsewhere)
    run(cuts)
    assert cuts.moments > 40


def reject_and_pass(cuts):
    for n in range(3):
        cuts.add(n)
    cuts.note(0, lambda entry: rejected.reject(entry, "not this one"))
    cuts.note(0, lambda entry: rejected.note_later([entry], cuts.added[1]))
    cuts.confirm(1)
    cuts.add(3)
    cuts.note(0, lambda entry: rejected.reject(entry, "nor today"))


def test_every_moment_of_a_rejection_is_a_good_one(cuts):
    reject_and_pass(cuts)
    entry = cuts.outbox.entries()[0]
    assert rejected.aliases_of(entry) == ["epoch_0"]
    assert rejected.rejection_of(entry).reason == "nor today"


@pytest.mark.parametrize("nth", range(7))
def test_no_sync_of_an_entry_can_be_left_out(cuts, monkeypatch, nth):
    """Those of two files, their folder, the record, the entry, the outbox and what it is in."""
    calls = iter(range(1000))
    for name in ("sync_file", "sync_folder"):
        real = getattr(outbox_module, name)
        leave_out = lambda path, real=real: None if next(calls) == nth else real(path)  # noqa: E731
        monkeypatch.setattr(outbox_module, name, leave_out)
    with pytest.raises((AssertionError, Damaged, OSError)):
        cuts.add(0)
    assert next(calls) > nth


def test_the_sync_on_another_file_system_cannot_be_left_out(tmp_path, monkeypatch, elsewhere):
    if elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system only")
    cuts, real = Cuts(tmp_path, monkeypatch, elsewhere), outbox_module.sync_folder
    leave_out = lambda path: None if path == str(elsewhere) else real(path)  # noqa: E731
    monkeypatch.setattr(outbox_module, "sync_folder", leave_out)
    with pytest.raises((AssertionError, Damaged, OSError)):
        cuts.add(0)


@pytest.mark.parametrize("name", ["sync_file", "sync_folder"])
def test_no_sync_of_a_rejection_can_be_left_out(cuts, monkeypatch, name):
    monkeypatch.setattr(rejected, name, lambda path: None)
    with pytest.raises((AssertionError, Damaged, OSError)):
        reject_and_pass(cuts)

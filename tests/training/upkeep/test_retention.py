"""Retention beside a training: it raises nothing, waits for no server, and works after a fork."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import kept
from kept.store.receipts import MirrorHead, Receipts
from kept.store.retention import mirrored
from kept.training.keras_api.formats import KERAS
from kept.training.upkeep import local_files
from kept.training.upkeep.local_files import LocalFiles
from kept.training.upkeep.retention import Retention
from tests.helpers import write

pytestmark = pytest.mark.any_framework

KEEP = kept.Keep(last=1)


@pytest.fixture
def two(tmp_path):
    """A store with two versions of the artifact m."""
    store = kept.open_store(tmp_path / "store")
    for n in range(2):
        metadata = {"epoch": n, "batch": None, "metrics": {}}
        store.log_artifact("m", write(tmp_path / f"{n}", b"%d" % n), metadata=metadata)
    return store


class Template:
    format = KERAS

    def __init__(self, folder):
        self._folder = folder

    def fill(self, epoch, *_):
        return str(self._folder / f"{epoch}")


def confirm(store, place="s3://b/mirror"):
    Receipts(store.bucket, place).confirm("m", 2, 1, MirrorHead(2, "0" * 32))


@pytest.mark.parametrize("method", ["apply", "finish"])
def test_receipts_that_cannot_be_read_are_a_message(two, method, capsys):
    folder = Path(two.location, "outbox")
    shutil.rmtree(folder, ignore_errors=True)
    write(folder, b"")
    retention = Retention(KEEP, None)
    getattr(retention, method)(two, "m")
    retention.finish(two, "m")
    assert "old versions of m could not be deleted, they stay" in capsys.readouterr().out
    assert len(two.versions("m")) == 2


def test_no_lock_is_held_while_a_mirror_is_asked(two, tmp_path, monkeypatch):
    confirm(two)
    local = LocalFiles(Template(tmp_path), KEEP)
    held = []
    monkeypatch.setattr(mirrored, "_problem", lambda _: held.append(local._lock.locked()))
    local.tidy(two, "m")
    assert held == [False]
    assert not (tmp_path / "0").exists()
    assert (tmp_path / "1").exists()


def test_a_file_that_another_thread_removes_meanwhile(two, tmp_path, monkeypatch):
    local = LocalFiles(Template(tmp_path), KEEP)
    decide = local_files.decide_now

    def slow(*args):
        decisions = decide(*args)
        (tmp_path / "0").unlink()
        return decisions

    monkeypatch.setattr(local_files, "decide_now", slow)
    local.tidy(two, "m")
    assert (tmp_path / "1").exists()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning")
def test_a_forked_child_needs_no_lock_of_its_parent(tmp_path):
    local = LocalFiles(Template(tmp_path), KEEP)
    retention = Retention(KEEP, local)
    with local._lock, retention._lock:
        child = os.fork()
        if not child:
            os._exit(local._lock.locked() or retention._lock.locked())
    assert os.waitpid(child, 0)[1] == 0

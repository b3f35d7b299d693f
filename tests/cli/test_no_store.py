"""A command without a store says where one is, and what waits to get into one."""

from __future__ import annotations

import os

import pytest

import kept
from kept.cli import no_store
from kept.sync.outbox.outbox import Outbox
from tests.helpers import write


@pytest.mark.parametrize(
    ("store", "here"),
    [
        ("kept-store", "notebooks"), ("kept-store", "a/b/c"), ("runs/kept-store", "."),
        ("my-store", "."), ("my-store", "my-store/blobs"),
    ],
)  # fmt: skip
def test_a_store_close_by_is_named(run, tmp_path, monkeypatch, store, here):
    kept.open_store(tmp_path / store).log_artifact("m", __file__)
    (tmp_path / here).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path / here)
    error = run("ls", exit=3).stderr
    assert f"There is a store in {os.path.relpath(tmp_path / store)}. " in error
    assert "Pass --store LOCATION or set KEPT_STORE." in error


def test_few_of_many_stores_are_named(run, tmp_path):
    for n in range(9):
        kept.open_store(tmp_path / f"s{n}").log_artifact("m", __file__)
    error = run("ls", exit=3).stderr
    assert "There is a store in s0 and in s1 and in s2. " in error


def test_what_waits_in_the_outbox_is_counted(run, tmp_path, monkeypatch):
    outbox = Outbox()
    for count in (1, 2):
        outbox.add("s3://bucket/x", {"m": write(tmp_path / "f", b"1")}, {"artifact": "m"})
        error = run("ls", exit=3).stderr
        assert f"{count} checkpoint" in error
        assert f"in {tmp_path}/kept-outbox; to list them: kept sync --status. " in error


def test_what_cannot_be_read_adds_nothing(run, tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Outbox, "_listed", refused)
    monkeypatch.setattr(no_store.Path, "iterdir", refused)
    error = run("ls", exit=3).stderr
    assert error.count("\n") == 1
    assert "Permission" not in error

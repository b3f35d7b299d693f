"""The index is a cache: deleted, damaged or old, and with other processes, the answer is right."""

import os
import shutil
import sqlite3
import subprocess
import sys

import pytest

import kept
from kept.store.search import index, search
from kept.store.search.database import Database
from kept.store.search.query import Query


@pytest.fixture
def store(folder, put):
    for name in "abc":
        put(folder, name, {"epoch": ord(name)})
    return folder


def found(store):
    return sorted(version.name for version in store.search("epoch > 0"))


def database(store):
    return os.path.join(index.index_folder(store.logs), "index.sqlite")


def test_only_changed_logs_are_read(store, old, read, put):
    assert found(store) == ["a", "b", "c"]
    assert sorted(read) == ["a", "b", "c"]
    read.clear()
    assert found(kept.open_store(store.location)) == ["a", "b", "c"]
    assert read == []
    put(store, "b", {"epoch": 0})
    put(store, "d", {"epoch": 1})
    assert found(store) == ["a", "b", "c", "d"]
    assert sorted(read) == ["b", "d"]


def test_only_changed_logs_are_read_in_object_storage(s3, read, put):
    store = kept.open_store(s3)
    for name in "abc":
        put(store, name, {"epoch": 1})
    assert found(store) == ["a", "b", "c"]
    read.clear()
    other = kept.open_store(s3)
    assert found(other) == ["a", "b", "c"]
    assert read == []
    put(store, "b", {"epoch": 0})
    store.delete("c:v0")
    assert found(other) == ["a", "b"]
    assert sorted(read) == ["b", "c"]


def test_only_logs_of_the_name_are_read(store, old, read):
    assert len(store.search(name="a")) == 1
    assert len(store.search(name="[a]*")) == 0
    assert read == ["a"]


def test_a_log_that_was_changed_just_now_is_read_again(store, read):
    found(store)
    read.clear()
    found(store)
    assert sorted(read) == ["a", "b", "c"]


def test_a_change_within_the_same_moment_is_seen(store, old, put):
    """The time of a folder can stay as it is: then the next record exists."""
    folder = os.path.join(store.location, "artifacts/a/log")
    assert len(store.search("epoch = 7")) == 0
    before = os.stat(folder)
    put(store, "a", {"epoch": 7})
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(store.search("epoch = 7")) == 1


def test_artifacts_that_vanish_are_forgotten(store, old):
    found(store)
    shutil.rmtree(os.path.join(store.location, "artifacts/b"))
    selection = search.select(kept.open_store(store.location).logs, Query(), ["artifact"])
    assert sorted(selection.rows) == [("a",), ("c",)]


@pytest.mark.parametrize("damage", ["deleted", "garbage", "empty", "cut", "newer", "other tables"])
def test_it_is_built_again(store, old, damage):
    assert found(store) == ["a", "b", "c"]
    path = database(store)
    if damage == "deleted":
        shutil.rmtree(os.path.dirname(path))
    elif damage == "newer":
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
    elif damage == "other tables":
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TABLE names")
    else:
        data = b"" if damage == "empty" else b"garbage" * 1000
        with open(path, "rb") as file:
            data = file.read()[:5000] if damage == "cut" else data
        for name in os.listdir(os.path.dirname(path)):
            os.unlink(os.path.join(os.path.dirname(path), name))
        with open(path, "wb") as file:
            file.write(data)
    assert found(store) == ["a", "b", "c"]
    with Database(path) as built:
        assert built.known().keys() == {"a", "b", "c"}


def test_a_wrong_index_shows_no_wrong_version(store, old):
    found(store)
    with sqlite3.connect(database(store)) as connection:
        column = connection.execute("SELECT place FROM names WHERE name = '\"epoch\"'").fetchone()[
            0
        ]
        connection.execute(f"UPDATE versions SET c{column} = -5")
    assert store.search("epoch = -5") == []
    assert found(store) == ["a", "b", "c"]  # it was discarded


@pytest.mark.parametrize("place", ["a file", "no permission"])
def test_without_a_cache_folder_all_logs_are_read(store, monkeypatch, tmp_path, place):
    if place == "a file":
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    else:
        monkeypatch.setattr(os, "makedirs", _refused)
    assert found(store) == ["a", "b", "c"]


def _refused(*_, **__):
    raise PermissionError("no")


def test_without_sqlite_all_logs_are_read(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "kept.store.search.index", None)
    assert found(store) == ["a", "b", "c"]


def test_a_busy_index_is_not_discarded(store, old, monkeypatch):
    found(store)
    monkeypatch.setattr("kept.store.search.database._WAIT", 0.01)
    store.delete("c:v0")
    blocker = sqlite3.connect(database(store), isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        assert found(store) == ["a", "b"]
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
    with Database(database(store)) as kept_one:
        assert kept_one.known().keys() == {"a", "b", "c"}


def test_an_old_answer_does_not_replace_a_newer_one(store, old, monkeypatch, put):
    """Another process reads the newer log and writes it while this one holds the older answer."""
    original, raced = index.read_log, []

    def slow(logs, name):
        read = original(logs, name)
        if name == "b" and not raced:
            raced.append(name)
            put(store, "b", {"epoch": 1000})
            assert len(kept.open_store(store.location).search("epoch = 1000")) == 1
        return read

    monkeypatch.setattr(index, "read_log", slow)
    assert len(store.search("epoch = 1000")) == 1
    with Database(database(store)) as database_:
        assert len(database_.select(Query(name="b"), ["version"])) == 2


def test_a_version_that_changes_meanwhile_is_asked_for_again(store, old, monkeypatch):
    original, calls = search.select, []

    def select(*args, **options):
        result = original(*args, **options)
        if not calls:
            store.delete("a:v0")
        calls.append(1)
        return result

    monkeypatch.setattr(search, "select", select)
    monkeypatch.setattr(search, "_discard", lambda _: pytest.fail("the index was right"))
    assert found(store) == ["b", "c"]


PROGRAM = """
import sys, kept
store = kept.open_store(sys.argv[1])
for number in range(8):
    content = kept.MemoryFile("w", [f"{sys.argv[2]} {number}".encode()])
    store.log_artifact(f"run_{number}", content, metadata={"by": sys.argv[2]})
    found = store.search(f"by = {sys.argv[2]}")
    assert len(found) == number + 1, (number, found)
"""


def test_several_processes_write_and_search(store):
    command = [sys.executable, "-c", PROGRAM, store.location]
    running = [subprocess.Popen([*command, writer]) for writer in ("one", "two", "three")]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    assert len(store.search("by in (one, two, three)")) == 24


def test_an_index_that_was_not_used_for_long_is_removed(store, tmp_path, cache):
    found(store)
    old, young = cache / "old", cache / "young"
    for folder in (old, young):
        folder.mkdir()
        (folder / "index.sqlite").write_bytes(b"")
    os.utime(old, (0, 0))
    found(store)
    assert old.exists()  # only a new index looks for others
    assert found(kept.open_store(shutil.copytree(store.location, tmp_path / "copy")))
    assert not old.exists()
    assert young.exists()
    assert len(list(cache.iterdir())) == 3


def test_each_store_has_its_own(store, tmp_path):
    shutil.copytree(store.location, tmp_path / "copy")
    copy = kept.open_store(tmp_path / "copy")
    copy.delete("a:v0")
    assert found(copy) == ["b", "c"]
    assert found(store) == ["a", "b", "c"]
    assert index.index_folder(copy.logs) != index.index_folder(store.logs)

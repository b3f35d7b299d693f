import os

import pytest

import kept
from kept.store.search import stamps


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power cut comes in these tests
    return folder / "kept" / "search"


@pytest.fixture
def folder(tmp_path):
    """A store in a folder."""
    return kept.open_store(tmp_path / "store")


@pytest.fixture
def put():
    """Log a version with some content of its own."""
    count = iter(range(10_000))

    def log(store, name, metadata=None, **options):
        content = kept.MemoryFile("w", [str(next(count)).encode()])
        return store.log_artifact(name, content, metadata=metadata, capture=False, **options)

    return log


@pytest.fixture
def old(monkeypatch):
    """Logs get a stamp, however young their folders are."""
    monkeypatch.setattr(stamps, "_RACY", -(10**18))


@pytest.fixture
def read(monkeypatch):
    """The names of the artifacts whose logs the index reads."""
    from kept.store.search import index

    names, original = [], index.read_log

    def noting(logs, name):
        names.append(name)
        return original(logs, name)

    monkeypatch.setattr(index, "read_log", noting)
    return names

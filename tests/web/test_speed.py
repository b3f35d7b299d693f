"""What pages cost: logs that are read, rows, bytes, requests. Counts, and no times."""

import gzip
import os
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import kept
from kept.bucket.memory import MemoryBucket
from kept.web.app import make_app
from kept.web.facts.store.rows import PAGE
from kept.web.pages.log import log_page
from kept.web.pages.store import store_page
from kept.web.query import Query
from kept.web.reading import standings
from kept.web.reading.reader import Reader
from tests.servers.s3 import fill
from tests.web.conftest import make_series

STATIC = Path(standings.__file__).parents[1] / "static"


def put(store, name, number=0):
    content = kept.MemoryFile("m.bin", [b"%08d" % number])
    metadata = {"metrics": {"val_loss": 1 / (number + 2)}, "monitor": "val_loss", "mode": "min"}
    return store.log_artifact(name, content, metadata=metadata, capture=False)


def age(store):
    """Make the logs so old that their stamps count."""
    for folder, _, _ in os.walk(store.location):
        os.utime(folder, (1, 1))


@pytest.fixture
def reads(monkeypatch):
    """The names of the artifacts whose logs were read for rows."""
    found = []
    read = standings.Standings._read

    def counted(self, name):
        found.append(name)
        return read(self, name)

    monkeypatch.setattr(standings.Standings, "_read", counted)
    return found


@pytest.fixture
def many(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = kept.open_store(tmp_path / "store")
    for number in range(60):
        put(store, f"m{number:02}")
    age(store)
    return store


def test_a_log_is_read_once_until_it_changes(many, reads):
    reader = Reader(many)
    reader.table()
    reads.clear()
    store_page(reader, Query())
    assert reads == []
    put(many, "m07", 1)
    assert reader.table().standings["m07"].versions == 2
    assert set(reads) == {"m07"}


def test_the_next_server_begins_with_the_saved_rows(many, reads):
    before = Reader(many).table()
    put(many, "m07", 1)
    reads.clear()
    reader = Reader(kept.open_store(many.location))
    assert reader.table().standings.keys() == before.standings.keys()
    assert reads == ["m07"]


def test_a_damaged_file_of_rows_is_read_from_the_logs(many, reads, tmp_path):
    before = Reader(many).table()
    [path] = (tmp_path / "cache" / "kept" / "page").iterdir()
    path.write_bytes(path.read_bytes().replace(b"val_loss", b"val_lost"))
    reads.clear()
    assert Reader(many).table() == before
    assert len(reads) == 60


def test_a_page_does_not_wait_for_a_whole_large_store(tmp_path, monkeypatch):
    monkeypatch.setattr(standings, "_ALWAYS", 3)
    monkeypatch.setattr(standings, "_BATCH", 1)
    store = kept.open_store(tmp_path / "store")
    for number in range(30):
        put(store, f"m{number:02}")
    reader = Reader(store, patience=0)
    first = reader.table()
    assert first.unread + len(first.standings) == 30
    assert len(first.standings) >= 3
    assert reader.table().standings.keys() <= {f"m{n:02}" for n in range(30)}
    assert len(Reader(store).table().standings) == 30, "without a limit it waits"


def test_memory_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("kept.web.reading.reader._MOST", 25)
    store = kept.open_store(tmp_path / "store")
    reader = Reader(store)
    for name in "abcdef":
        make_series(store, name, 10)
        reader.versions(name)
    assert [*reader._held] == ["e", "f"]
    assert reader._count == 20
    assert store.logs._logs.keys() == {"e", "f"}, "the logs are free, too"


def test_a_training_with_thousands_of_versions_is_followed(tmp_path, monkeypatch):
    store = kept.open_store(tmp_path / "store")
    make_series(store, "m", 100)
    reader = Reader(store)
    first = reader.versions("m")
    read = []
    monkeypatch.setattr("kept.web.reading.reader.read_versions", read.append)
    for number in range(5):
        put(store, "m", number)
        assert len(reader.versions("m").records) == 101 + number
    assert read == [], "the log is not read again"
    assert len(first.records) == 100, "what a page holds does not change under it"


def test_pages_are_small_and_hold_200_rows(tmp_path):
    store = kept.Store(MemoryBucket())
    for number in range(PAGE + 50):
        put(store, f"experiment-with-a-usual-name-{number:04}", number)
    make_series(store, "long", 150)
    scripts = sum(len(gzip.compress(f.read_bytes())) for f in STATIC.iterdir())
    with TestClient(make_app(store), base_url="http://localhost") as client:
        for path in ("/", "/log/", "/artifacts/long/", "/artifacts/long/v3/"):
            answer = client.get(path)
            assert answer.headers["Content-Encoding"] == "gzip"
            assert answer.text.count("<tr") <= PAGE + 40
            assert len(gzip.compress(answer.content)) + scripts < 300_000


# Requests ---------------------------------------------------------------------------------------


def long_log(location, length):
    """Make an artifact of length versions in object storage, as far as its pages need it."""
    source = kept.Store(MemoryBucket())
    version = source.log_artifact("m", kept.MemoryFile("m.bin", [b"1"]), capture=False)
    made = {"event": "version", "type": "model", "digest": version.digest, "size": version.size}
    made |= {"manifest": version.record.manifest, "aliases": [], "metadata": {}}
    log = source.log("m")
    while (head := log.view().head) < length:
        log.append(made | {"index": head})
    last = [log.records.key(number) for number in range(max(length - 63, 1), length + 1)]
    folders = ("artifacts/m/state/", "blobs/", "manifests/")
    keys = ["kept.json", *(k for f in folders for k in source.bucket.keys(f)), *last]
    fill(location, {key: source.bucket.get(key) for key in keys})


FIRST = {64: 24, 1024: 24}  # requests of the first look, a page of the log has 512 records


@pytest.mark.parametrize("length", [64, 1024])
def test_a_page_of_object_storage_costs_few_requests(proxy, s3, length):
    long_log(s3, length)
    store = kept.open_store(s3)
    reader = Reader(store)
    with proxy.counted() as first:
        store_page(reader, Query())
    assert len(first) <= FIRST[length], [r.method + r.path for r in first]
    with proxy.counted() as again:
        store_page(reader, Query())
    assert again == [], "within 10 seconds nothing is asked"
    with proxy.counted() as versions:
        reader.versions("m")
        reader.versions("m")
    assert len(versions) <= 6, [r.method + r.path for r in versions]
    with proxy.counted() as log:
        log_page(reader, Query())
    assert len(log) <= 4, [r.method + r.path for r in log]


def test_a_look_at_a_large_store_asks_for_a_limited_number_of_logs(proxy, s3, monkeypatch):
    store = kept.open_store(s3)
    for number in range(40):
        put(store, f"m{number:02}")
    reader = Reader(kept.open_store(s3))
    store_page(reader, Query())
    looked = []
    monkeypatch.setattr(standings, "SECONDS", 0.0)
    for _ in range(3):
        with proxy.counted() as made:
            reader.table()
        looked.append(len(made))
    assert max(looked) <= standings.MOST_ASKED + 3
    put(store, "m00", 1)
    rounds = 0
    while reader.table().standings["m00"].versions == 1:
        rounds += 1
        assert rounds <= 4, "the other logs are asked for in turn"

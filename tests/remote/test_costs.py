"""What commands, and the work after a save, cost in requests: what changed, not what is stored."""

from __future__ import annotations

import threading
import time

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import kept
from kept.bucket.memory import MemoryBucket
from kept.bucket.object_storage.bucket import ObjectBucket
from kept.cli.main import cli
from kept.parallel import in_threads
from kept.store.log import overview
from kept.store.receipts import Receipts
from kept.sync.mirror.mirrors import Mirror
from kept.sync.mirror.replicate import Sync
from kept.sync.outbox.deliver import Delivery
from kept.sync.outbox.outbox import Outbox

ARTIFACTS = 200
COMMIT = 9  # besides two for each new blob


def content(text):
    return kept.MemoryFile("f", [text.encode()])


def put_all(source, location, part=""):
    """Store the keys of a bucket in memory at a location in object storage."""
    target = ObjectBucket(location)
    keys = [key for key in source.keys("") if part in key or key == "kept.json"]
    in_threads(lambda key: target.put(key, [source.get(key)]), keys, 8)


def put_end(source, location):
    """Store m as put_all does, but of its records only those after the newest page: it is read."""
    log = source.log("m")
    head, target = log.view().head, ObjectBucket(location)
    rest = (key for key in source.bucket.keys("") if "/log/" not in key)
    for key in (*rest, *map(log.records.key, range(max(head - head % 64, 1), head + 1))):
        target.put(key, [source.bucket.get(key)])


def with_artifacts(count):
    """A store with artifacts of five versions each; some are deleted, some have aliases."""
    store = kept.Store(MemoryBucket())
    for n in range(count):
        for v in range(5):
            store.log_artifact(f"run{n:03d}", content(f"{n} {v}"), aliases=[f"epoch_{v}"])
        if n % 7 == 0:
            store.set_alias(f"run{n:03d}:v2", "best")
            store.delete(f"run{n:03d}:v4", force=True)
    return store


def in_a_long_log(versions):
    """A store with an artifact of many versions: the newest two exist, of the others the records.

    Without keep they would all be live; keep= has deleted all but the newest ones.
    """
    store = kept.Store(MemoryBucket())
    first = store.log_artifact("m", content("first"))
    made = {"event": "version", "type": "model", "digest": first.digest, "size": first.size}
    made |= {"manifest": first.record.manifest, "aliases": [], "metadata": {}}
    log = store.log("m")
    for index in range(1, versions):
        log.append(made | {"index": index})
        log.append({"event": "delete", "index": index - 1, "reason": "no rule keeps it"})
    return store


class InFlight:
    """Notes how many requests a proxy has under way at once, at most."""

    def __init__(self, proxy):
        self.most, self._now, self._lock = 0, 0, threading.Lock()
        proxy.fault = self._fault

    def _fault(self, _method, _path):
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(0.02)
        with self._lock:
            self._now -= 1


@pytest.mark.parametrize(
    "versions", [10, 992, pytest.param(2000, marks=pytest.mark.integration)]
)  # the next record after 992 ends a page
def test_a_prune_costs_what_changed(proxy, s3, versions):
    put_end(in_a_long_log(versions), s3)
    store, keep = kept.open_store(s3), kept.Keep(last=1)
    with proxy.counted() as first:
        assert len([d for d in store.prune("m", keep) if not d.keep]) == 0
    assert len(first) <= 80 + 2 * versions // 512 + 7
    most = []
    for n in range(3):
        index = store.log_artifact("m", content(f"next {n}")).index
        with proxy.counted() as made:
            assert [d.record.index for d in store.prune("m", keep) if not d.keep] == [index - 1]
        most.append(len(made))
    assert max(most) <= 4, most
    with proxy.counted() as made:
        assert len(list(store.log("m").view().items())) == 2 * versions + 5
    assert len(made) == 1  # the history of the log: its end is listed, and nothing is read again


def test_a_prune_asks_a_mirror_once(proxy, s3, tmp_path):
    """Only if it deletes something, however many versions it deletes."""
    here, target = kept.open_store(tmp_path / "here"), kept.open_store(s3)
    for n in range(5):
        here.log_artifact("m", content(f"{n}"))
    Sync(here, target, "m").run(Receipts(here.bucket, target.location))
    for last, requests in ((5, 0), (2, 1), (2, 0)):
        with proxy.counted() as made:
            here.prune("m", kept.Keep(last=last))
        assert len(made) == requests
    assert len(here.versions("m")) == 2


def test_a_budget_reads_each_manifest_once(proxy, s3):
    store, keep = kept.open_store(s3), kept.Keep(bytes=100)
    for n in range(12):
        store.log_artifact("m", content(f"{n:020d}"))
    store.prune("m", keep)
    store.log_artifact("m", content("x" * 20))
    with proxy.counted() as made:
        assert len([d for d in store.prune("m", keep) if not d.keep]) == 1
    assert len(made) <= 5  # one manifest is new


@pytest.mark.parametrize("artifacts", [1, ARTIFACTS])
def test_a_commit_beside_other_artifacts(proxy, s3, artifacts):
    put_all(with_artifacts(artifacts).bucket, s3, part="/00000000000000000001.json")
    store = kept.open_store(s3)
    store.log_artifact("mine", content("first"))
    for n in range(3):
        with proxy.counted() as made:
            store.log_artifact("mine", content(f"next {n}"))
        assert len(made) <= COMMIT + 2, [r.method + r.path for r in made]


@pytest.mark.parametrize("artifacts", [40, pytest.param(ARTIFACTS, marks=pytest.mark.integration)])
def test_ls_of_many_artifacts(proxy, s3, artifacts):
    many = with_artifacts(artifacts)
    put_all(many.bucket, s3, part="/log/")
    expected = dict(overview.summaries(many.logs))
    assert len(expected) == artifacts
    flight = InFlight(proxy)
    assert dict(overview.summaries(kept.open_store(s3).logs)) == expected  # writes the overview
    assert flight.most >= 8
    flight = InFlight(proxy)
    with proxy.counted() as made:
        assert dict(overview.summaries(kept.open_store(s3).logs)) == expected
    assert len(made) <= artifacts + 50
    assert flight.most >= 8


@pytest.mark.parametrize("artifacts", [12, pytest.param(60, marks=pytest.mark.integration)])
def test_the_first_ls_of_what_runs_have_written(proxy, s3, tmp_path, artifacts):
    """Each run is a process of its own: a store, a delivery of versions, and the end of the fit."""
    outbox = Outbox(tmp_path / "outbox")
    for n in range(artifacts):
        store = kept.open_store(s3)
        delivery = Delivery(store, outbox)
        for v in range(5 if n < 2 else 1):
            path = tmp_path / f"{v}.h5"
            path.write_text(f"{n} {v}")
            info = {"type": "model", "aliases": [f"epoch_{v}"], "metadata": {}}
            delivery.add(f"run{n:03d}", {"m.h5": str(path)}, info)
        delivery.send()
        with proxy.counted() as made:
            overview.note_in_time(store.logs)
        assert len(made) <= 3 + (n == 0), [r.method + r.path for r in made]
    flight = InFlight(proxy)
    with proxy.counted() as made:
        found = dict(overview.summaries(kept.open_store(s3).logs))
    assert (len(found), found["run000"].versions) == (artifacts, 5)
    assert len(made) <= artifacts + 6
    assert flight.most >= min(8, artifacts // 3)


def test_the_end_of_a_fit_and_of_a_command_note_what_they_changed(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("KEPT_OUTBOX", str(tmp_path / "outbox"))
    monkeypatch.chdir(tmp_path)
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    data = np.zeros((4, 2), "float32"), np.zeros((4, 1), "float32")
    for options in ({"store": s3}, {"store": tmp_path / "here", "mirror": s3}):
        name = f"with-{len(options)}"
        callback = kept.ModelCheckpoint("m.keras", monitor="loss", name=name, **options)
        model.fit(*data, callbacks=[callback], verbose=0)
    (tmp_path / "file").write_text("x")
    assert CliRunner().invoke(cli, ["--store", s3, "put", "mine", "file"]).exit_code == 0
    noted = overview._remembered(kept.open_store(s3).bucket)
    assert noted.keys() == {"with-1", "with-2", "mine"}
    assert dict(overview.summaries(kept.open_store(s3).logs)) == {
        name: each.summary for name, each in noted.items()
    }


def test_an_overview_that_cannot_be_read_or_written_ends_no_work(proxy, s3):
    store = kept.open_store(s3)
    store.log_artifact("m", content("1"))
    store.bucket.put(overview.OVERVIEW, [b"?"])
    overview.note(store.logs)
    assert overview._remembered(store.bucket) == {}
    store.log_artifact("m", content("2"))
    proxy.fault = lambda _method, path: "drop" if "overview" in path else None
    overview.note(store.logs)


@pytest.mark.parametrize("artifacts", [12, pytest.param(ARTIFACTS, marks=pytest.mark.integration)])
def test_the_start_of_a_fit_with_a_mirror_that_lacks_nothing(proxy, s3, tmp_path, artifacts):
    here, target = kept.open_store(tmp_path / "here"), kept.open_store(s3)
    for n in range(artifacts):
        here.log_artifact(f"a{n}", content(f"{n}"))
        Sync(here, target, f"a{n}").run(Receipts(here.bucket, target.location))
    with proxy.counted() as made:
        mirror = Mirror(here, s3)
        mirror.begin("a0")
        assert mirror.courier.wait(60)
    assert len(made) <= 10


@pytest.mark.parametrize("artifacts", [20, pytest.param(ARTIFACTS, marks=pytest.mark.integration)])
def test_verify_and_du_of_artifacts_run_side_by_side(proxy, s3, artifacts):
    many = with_artifacts(artifacts)
    put_all(many.bucket, s3)
    for call in ("verify", "usage"):
        flight = InFlight(proxy)
        found = getattr(kept.open_store(s3), call)()
        assert flight.most >= 8, call
        assert call == "usage" or found.ok
    assert found == many.usage()

"""The alias best: decided when the record is written, against the log as it is then."""

import math
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.store.log.reader import Reader
from kept.store.metadata import MeasuredMetadata
from kept.store.rank.best import becomes_best, score_of
from kept.store.store import Store
from tests.helpers import finish, start

SWEEP = """
import random, sys, kept
from kept.store.metadata import MeasuredMetadata
where, seed = sys.argv[1:]
store, values = kept.open_store(where), random.Random(int(seed))
print("ready", flush=True)
sys.stdin.readline()
for n in range(12):
    value = values.random()
    metadata = {"monitor": "val_loss", "mode": "min", "value": value}
    file = kept.MemoryFile("m.bin", [f"{seed} {n}".encode()])
    store.log_artifact("m", file, metadata=MeasuredMetadata(metadata, contends=True))
    best = store["m:best"]
    assert best.metadata["value"] <= value, (best.metadata, value)
"""


@pytest.fixture
def store(tmp_path):
    return kept.open_store(tmp_path / "store")


@pytest.fixture
def log(store, tmp_path):
    def one(value, monitor="val_loss", mode="min", content=None):
        path = tmp_path / "m.bin"
        path.write_text(content or f"{monitor} {value}")
        facts = {"monitor": monitor, "mode": mode, "value": value}
        return store.log_artifact("m", path, metadata=MeasuredMetadata(facts, contends=True))

    return one


def test_a_version_takes_the_alias_only_from_a_worse_one(store, log):
    for value in (0.5, 0.7, 0.3, 0.4, math.nan, math.inf, 0.3):
        log(value)
    assert store["m:best"].index == 2


def test_another_metric_competes_with_its_own_versions(store, log):
    log(0.5)
    log(0.9, "acc", "max")
    log(0.2)
    assert store["m:best"].index == 2
    log(0.8, "acc", "max")
    assert store["m:best"].index == 2, "0.8 is worse than the 0.9 before"


def test_without_the_alias_the_versions_that_are_left_compete(store, log):
    for value in (0.5, 0.2, 0.3):
        log(value)
    store.delete("m:best", force=True)
    log(0.4)
    assert "best" not in store.version("m").aliases
    log(0.1)
    assert store["m:best"].index == 4


def test_the_user_may_name_another_version_the_best(store, log):
    log(0.2)
    log(0.5)
    store.set_alias("m:v1", "best")
    log(0.6)
    assert store["m:best"].index == 1
    log(0.4)
    assert store["m:best"].index == 3


def test_the_same_content_with_a_better_value(store, log):
    log(None, content="same")
    log(0.3, content="same")
    assert (len(store.versions("m")), store["m:best"].index) == (1, 0)
    log(0.4)
    assert store["m:best"].index == 0, "0.3 counts, though v0 was logged without it"


def test_metadata_without_a_finite_metric_have_no_score():
    facts = {"monitor": "loss", "mode": "min"}
    for value in ("nan", "inf", None, True, math.nan, "0.5"):
        assert score_of(facts | {"value": value}) is None
    assert score_of(facts | {"mode": None, "value": 1}) is None
    assert score_of(facts | {"value": 1}).value == 1.0


def test_threads_of_one_process(store, log, tmp_path):
    def one(value):
        file = kept.MemoryFile("m.bin", [str(value).encode()])
        facts = {"monitor": "val_loss", "mode": "min", "value": value}
        store.log_artifact("m", file, metadata=MeasuredMetadata(facts, contends=True))

    values = [(n * 37 % 40) / 40 for n in range(40)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, values))
    assert store["m:best"].metadata["value"] == min(values)


def test_four_jobs_of_a_sweep_with_one_name(tmp_path):
    jobs = [start(SWEEP, tmp_path / "store", seed) for seed in range(4)]
    for job in jobs:
        assert job.stdout.readline() == "ready\n"
    for job in jobs:
        job.stdin.write("go\n")
        job.stdin.flush()
    for job in jobs:
        finish(job)
    store = kept.open_store(tmp_path / "store")
    values = [version.metadata["value"] for version in store.versions("m")]
    assert len(values) == 48
    assert store["m:best"].metadata["value"] == min(values)


@pytest.fixture
def bucket():
    return MemoryBucket()


def log_in(store, value, monitor="val_loss"):
    facts = {"monitor": monitor, "mode": "min", "value": value}
    file = kept.MemoryFile("m.bin", [f"{monitor} {value}".encode()])
    return store.log_artifact("m", file, metadata=MeasuredMetadata(facts, contends=True))


def test_a_commit_reads_no_old_pages_however_old_the_best_is(bucket, monkeypatch):
    store = Store(bucket)
    for n in range(203):
        log_in(store, float(n))
    monkeypatch.setattr(Reader, "backwards", lambda *_, **__: pytest.fail("a page is read"))
    log_in(store, 300.0)
    monkeypatch.undo()
    assert store["m:best"].index == 0


def test_a_process_that_followed_the_log_decides_as_one_that_reads_it(bucket):
    chance, store, other = random.Random(5), Store(bucket), Store(bucket)
    for step in range(60):
        log_in(store, chance.random(), chance.choice(["val_loss", "val_loss", "other"]))
        live, deleted = store.versions("m"), store.deleted("m")
        match chance.randrange(11):
            case 0:
                other.set_alias(chance.choice(live).reference, "best")
            case 1 if len(live) > 1:
                other.delete(chance.choice(live).reference, force=True)
            case 2 if deleted:
                other.undelete(chance.choice(deleted).reference)
            case 3 if any("best" in version.aliases for version in live):
                other.remove_alias("m", "best")
            case 4 if len(live) > 1:
                indexes = [version.index for version in chance.sample(live, 2)]
                other.log("m").append({"event": "remove", "indexes": indexes})
            case 5 if deleted:
                other.log("m").append({"event": "restore", "indexes": [deleted[0].index]})
            case 6:
                moved = {"aliases": {"best": chance.choice(live).index}} if live else {}
                metrics = {"index": 0, "metrics": {"a": 1}}
                other.log("m").append({"event": "metrics", **metrics, **moved})
        views = store.log("m").view(), Store(bucket).log("m").view()
        for monitor in ("val_loss", "other"):
            facts = {"monitor": monitor, "mode": "min", "value": chance.random()}
            followed, read = (becomes_best(view, facts) for view in views)
            assert followed == read, step

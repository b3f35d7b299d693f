"""A rule makes any metric decide the alias best, whenever it was measured and whoever writes."""

from __future__ import annotations

import math
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

import kept
from kept import messages
from kept.bucket.memory import MemoryBucket
from kept.errors import ArtifactNotFound, InvalidInput, StoreReplaced, VersionNotFound
from kept.store.format_marker import EVENTS_FORMAT, check_format
from kept.store.log.log import Log
from kept.store.log.reader import Reader
from kept.store.metadata import MeasuredMetadata
from kept.store.rank.live import live_at
from kept.store.rank.mode import mode_of
from kept.store.rank.rule import Rule, rule_of
from kept.store.store import Store
from kept.sync.mirror.replicate import Sync
from tests.helpers import finish, start


@pytest.fixture
def artifact(store):
    for n in range(4):
        log(store, n, metrics={"loss": 1 / (n + 1)})
    return store.artifact("m")


def log(store, content, name="m", **metadata):
    file = kept.MemoryFile("m.bin", [str(content).encode()])
    return store.log_artifact(name, file, metadata=metadata)


def contend(store, content, value, **metrics):
    facts = {"monitor": "val_loss", "mode": "min", "value": value, "metrics": metrics}
    file = kept.MemoryFile("m.bin", [str(content).encode()])
    return store.log_artifact("m", file, metadata=MeasuredMetadata(facts, contends=True))


def holder(store):
    return store.version("m:best").index


def test_the_newest_data_set_counts_at_once(store, artifact):
    artifact.set_best("test_acc")
    artifact["v0"].log_metrics({"test_acc": 0.5}, dataset="a")
    artifact["v1"].log_metrics({"test_acc": 0.6}, dataset="a")
    assert holder(store) == 1
    changed = artifact["v0"].log_metrics({"test_acc": 0.9}, dataset="b")
    assert "best" in changed.aliases
    assert holder(store) == artifact.best().index == 0
    artifact["v0"].log_metrics({"test_acc": 0.1}, dataset="a")
    assert holder(store) == artifact.best().index == 1


def test_the_best_by_any_metric_of_any_time(store, artifact):
    assert artifact.best("loss").index == 3
    assert artifact.best("loss", "max").index == 0
    artifact["v1"].log_metrics({"loss": 0.01})
    assert artifact.best("loss").index == 1, "a later value counts before that of the save"
    artifact["v1"].log_metrics({"loss": math.nan})
    assert artifact.best("loss").index == 3
    artifact["v0"].log_metrics({"test_acc": 0.5}, dataset="a")
    artifact["v2"].log_metrics({"test_acc": 0.4}, dataset="b")
    assert artifact.best("test_acc").index == 0
    assert artifact.best("test_acc@b").index == 2


def test_a_metric_that_no_version_has(artifact):
    with pytest.raises(VersionNotFound, match=r"Its metrics: loss\. Did you mean 'loss'"):
        artifact.best("los", "min")
    with pytest.raises(VersionNotFound, match="Pass monitor"):
        artifact.best()
    for wrong in ({"monitor": "fun"}, {"mode": "max"}, {"monitor": "a", "mode": "up"}):
        with pytest.raises(InvalidInput):
            artifact.best(**wrong)
    with pytest.raises(InvalidInput, match="mode='max' if higher is better"):
        artifact.set_best("fun")
    with pytest.raises(ArtifactNotFound):
        kept.store.artifact.Artifact(artifact.store, "other").set_best("loss")


def test_a_rule_moves_best_with_commits_and_metrics(store, artifact):
    assert artifact.set_best("test_acc") is None, "no version has it so far"
    assert artifact["v1"].log_metrics({"test_acc": 0.9}).aliases == ("best",)
    assert (holder(store), artifact.best().index) == (1, 1)
    assert artifact["v3"].log_metrics({"test_acc": 0.9}).aliases == ("latest",), (
        "equal is no better"
    )
    assert artifact["v3"].log_metrics({"test_acc": 0.95}).aliases == ("latest", "best")
    assert artifact["v3"].log_metrics({"test_acc": 0.1}).aliases == ("latest",)
    assert holder(store) == 1, "of a corrected value"
    assert log(store, "new", metrics={"test_acc": 0.97}).aliases == ("latest", "best")
    assert log(store, "newer", metrics={"test_acc": 0.8}).aliases == ("latest",)
    assert (holder(store), str(artifact.best_rule)) == (4, "test_acc (max)")


def test_a_deleted_best_hands_the_alias_to_the_next(store, artifact):
    artifact.set_best("loss")
    assert holder(store) == 3
    store.delete("m:v3", force=True)
    assert holder(store) == 2
    store.undelete("m:v3")
    assert holder(store) == 3
    store.log("m").append({"event": "alias", "aliases": {"best": 0}})
    log(store, "x")
    artifact["v1"].log_metrics({"other": 1})
    assert holder(store) == 3, "what an older kept has moved lasts until the next metric"


def test_nobody_moves_best_beside_a_rule(store, artifact):
    artifact.set_best("loss")
    head = store.log("m").view().head
    file = kept.MemoryFile("m.bin", [b"new"])
    for move in (
        lambda: store.set_alias("m:v0", "best"),
        lambda: store.remove_alias("m", "best"),
        lambda: store.promote("m:v0", "best"),
        lambda: store.rollback("m:best"),
        lambda: store.log_artifact("m", file, aliases=["x", "best"]),
    ):
        with pytest.raises(InvalidInput, match=r"follows loss \(min\).*kept best m --clear"):
            move()
    assert store.log("m").view().head == head
    assert store.set_alias("m:v0", "mine").aliases == ("mine",)
    artifact.set_best(None)
    assert store.set_alias("m:v0", "best").aliases == ("best", "mine")


def test_a_run_cannot_take_best_by_its_aliases(store, artifact):
    artifact.set_best("loss")
    file = kept.MemoryFile("m.bin", [b"new"])
    facts = MeasuredMetadata({"metrics": {"loss": 9}})
    version = store.log_artifact("m", file, aliases=["a", "best"], metadata=facts)
    assert (version.aliases, holder(store)) == (("latest", "a"), 3)


def test_the_rule_wins_over_the_metric_of_a_run(store, artifact, monkeypatch):
    shown = []
    monkeypatch.setattr(messages, "print_text", shown.append)
    monkeypatch.setattr(messages, "_said", set())
    artifact.set_best("loss")
    assert contend(store, "a", 0.1).aliases == ("latest",)
    assert contend(store, "b", 0.01, loss=0.001).aliases == ("latest", "best")
    [message] = shown
    assert message.startswith("kept: the alias best of m follows loss (min)")
    assert message.endswith("val_loss of this run does not move it")
    assert artifact.set_best(None).index == 5
    assert artifact.best_rule is None
    assert contend(store, "c", 0.001).aliases == ("latest", "best")
    assert contend(store, "d", 0.5, loss=0).aliases == ("latest",)


def test_content_that_is_logged_again_keeps_its_values(store, artifact):
    artifact.set_best("loss")
    log(store, "same", metrics={"loss": 9})
    assert log(store, "same", metrics={"loss": 0}).aliases == ("latest",)
    assert holder(store) == 3


def test_the_same_rule_twice_is_one_record(store, artifact):
    artifact.set_best("loss")
    head = store.log("m").view().head
    assert artifact.set_best("loss", "min").index == 3
    assert store.log("m").view().head == head
    artifact.set_best("loss", "max")
    assert holder(store) == 0


def test_another_process_knows_the_rule(artifact, small_pages):
    store = artifact.store
    artifact.set_best("loss")
    for n in range(30):
        store.set_alias("m:v0", f"a{n}")
    other = Store(store.bucket)
    assert contend(other, "x", 0.1, loss=0.001).aliases == ("latest", "best")


def test_a_rule_of_another_process_in_a_store_that_was_older(store, small_pages):
    for n in range(9):
        log(store, n, metrics={"loss": n + 1})
    other = Store(store.bucket)
    assert check_format(store.bucket).format < EVENTS_FORMAT
    store.artifact("m").set_best("loss")
    for n in range(9):
        store.set_alias("m:v0", f"a{n}")
    assert log(other, "x", metrics={"loss": 0.5}).aliases == ("latest", "best")


def test_a_writer_reads_no_old_page_to_know_that_there_is_no_rule(store, monkeypatch):
    for n in range(130):
        log(store, n)
    other = Store(store.bucket)
    other.log("m").view()
    monkeypatch.setattr(Reader, "backwards", lambda *_, **__: pytest.fail("a page is read"))
    assert rule_of(other.log("m").view()) is None


@pytest.mark.parametrize("seed", range(8))
def test_after_any_events_best_is_on_the_best_version(seed, small_pages):
    """Two writers; what each has followed must be what a new reader finds."""
    draw, bucket = random.Random(seed), MemoryBucket()
    writers = [Store(bucket), Store(bucket)]
    log(writers[0], "first", metrics={"acc": 0.5})
    writers[0].artifact("m").set_best("acc")
    for step in range(40):
        store = draw.choice(writers)
        live, deleted = store.versions("m"), store.deleted("m")
        match draw.randrange(6):
            case 0 | 1:
                log(store, step, metrics={"acc": draw.choice([draw.random(), math.nan])})
            case 2 | 3 if live:
                draw.choice(live).log_metrics({"acc": draw.choice([draw.random(), math.inf])})
            case 4 if len(live) > 1:
                store.delete(draw.choice(live).reference, force=True)
            case 5 if deleted:
                store.undelete(draw.choice(deleted).reference)
        seen = Store(bucket)
        values = {
            v.index: v.metrics.get("acc", float(v.metadata["metrics"]["acc"]))
            for v in seen.versions("m")
        }
        finite = [value for value in values.values() if math.isfinite(value)]
        if finite:
            assert values[holder(seen)] == max(finite), step


SWEEP = """
import sys, kept
where, first = sys.argv[1], int(sys.argv[2])
store = kept.open_store(where)
print("ready", flush=True)
sys.stdin.readline()
for n in range(first, 40, 4):
    store.version(f"m:v{n}").log_metrics({"acc": (n * 17 % 40) / 40})
    assert store.version("m:best").metrics["acc"] >= (n * 17 % 40) / 40
"""


def test_four_processes_log_metrics_of_one_artifact(tmp_path):
    store = kept.open_store(tmp_path / "store")
    for n in range(40):
        log(store, n)
    store.artifact("m").set_best("acc")
    jobs = [start(SWEEP, tmp_path / "store", first) for first in range(4)]
    for job in jobs:
        assert job.stdout.readline() == "ready\n"
    for job in jobs:
        job.stdin.write("go\n")
        job.stdin.flush()
    for job in jobs:
        finish(job)
    values = [version.metrics["acc"] for version in store.versions("m")]
    assert len(values) == 40
    assert store.version("m:best").metrics["acc"] == max(values)


def test_threads_of_one_process(store):
    for n in range(20):
        log(store, n)
    store.artifact("m").set_best("acc")

    def one(n):
        store.version(f"m:v{n}").log_metrics({"acc": n * 7 % 20})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(20)))
    assert store.version("m:best").metrics["acc"] == 19


def test_a_deletion_stands_if_best_cannot_be_moved(store, artifact, monkeypatch):
    artifact.set_best("loss")
    append_after = Log.append_after

    def fails(self, view, event):
        if event["event"] == "alias":
            raise OSError("no room")
        return append_after(self, view, event)

    monkeypatch.setattr(Log, "append_after", fails)
    assert store.delete("m:v3", force=True).index == 3
    monkeypatch.undo()
    artifact["v0"].log_metrics({"other": 1})
    assert holder(store) == 2


def test_mirrors_have_the_rule_and_what_was_measured(store, artifact):
    target = Store(MemoryBucket())
    artifact.set_best("test_acc")
    artifact["v2"].log_metrics({"test_acc": 0.5}, dataset="d", evaluation="e")
    Sync(store, target, "m").run()
    copy = target.artifact("m")
    assert copy.best_rule == Rule("test_acc", "max")
    assert (holder(target), copy["v2"].metrics) == (2, {"test_acc": 0.5, "test_acc@d": 0.5})
    copy["v1"].log_metrics({"test_acc": 0.7})
    Sync(target, store, "m").run()
    assert (holder(store), artifact["v1"].metrics) == (1, {"test_acc": 0.7})


def test_on_s3(s3):
    store = kept.open_store(s3)
    for n in range(3):
        log(store, n, metrics={"loss": n})
    store.artifact("m").set_best("acc")
    store.version("m:v1").log_metrics({"acc": 0.5})
    kept.open_store(s3).version("m:v0").log_metrics({"acc": 0.7})
    assert holder(store) == 0
    assert log(store, "x", metrics={"acc": 0.9}).aliases == ("latest", "best")


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("loss", "min"), ("val_loss", "min"), ("test-acc", "max"), ("test_acc@cifar10", "max"),
        ("precision@5", "max"), ("val_root_mse", "min"), ("F1", "max"), ("accuracy_loss", "min"),
        ("fun", None), ("", None), ("glossy", None), ("auc_1", None),
    ],
)  # fmt: skip
def test_the_direction_by_the_last_word(name, mode):
    assert mode_of(name) == mode


def test_a_store_that_was_restored_from_an_older_copy(store, artifact):
    """What was read before counts no longer: neither the rule nor the versions."""
    bucket = store.bucket
    older = {key: bytes(bucket.get(key)) for key in bucket.keys("")}
    artifact.set_best("loss", "max")
    log(store, "lost", metrics={"loss": 9})
    assert holder(store) == 4
    for key in list(bucket.keys("")):
        bucket.delete(key)
    for key, value in older.items():
        bucket.put(key, [value])
    restored = Store(bucket)
    for n in range(2):
        log(restored, f"new {n}", metrics={"loss": 0.6})
    with pytest.raises(StoreReplaced):
        log(store, "x", metrics={"loss": 10})
    assert contend(store, "x", 0.1, loss=10).aliases == ("latest", "best"), "no rule"
    assert [record.index for record in live_at(store.log("m").view())] == list(range(7))
    assert store.artifact("m").best_rule is None

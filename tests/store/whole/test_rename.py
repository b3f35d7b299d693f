"""Renaming artifacts: nothing is lost, nothing is moved, and it can be undone."""

from __future__ import annotations

import threading

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import (
    AliasProtected,
    ArtifactNotFound,
    InvalidName,
    KeptError,
    VersionNotFound,
)
from kept.store.log.history import version_records
from kept.store.log.log import Log
from kept.store.receipts import Receipts
from kept.sync.mirror.replicate import Sync
from tests.helpers import Wrapped


def state(store, name):
    """All that users see of an artifact, deleted versions included."""
    return list(version_records(store.log(name).view().facts()))


@pytest.fixture
def rich(store, log):
    """An artifact with something of everything."""
    for n in range(4):
        log(store, aliases=[f"epoch_{n}"], metadata={"n": n})
    store.set_alias("m:v1", "prod")
    store.remove_alias("m", "epoch_0")
    store.delete("m:v2", force=True)
    store.delete("m:v3", force=True)
    store.undelete("m:v3")
    store.version("m:v1").log_metrics({"acc": 0.5}, dataset="test")
    store.version("m:v1").update(description="good", tags=["a"], metadata={"k": 1}, note="n")
    store.set_ttl("m:v0", "7d")
    return store


def test_all_that_users_see_has_the_new_name(rich):
    before = state(rich, "m")
    blobs = set(rich.bucket.keys("blobs/"))
    assert rich.rename("m", "net") == 3
    assert state(rich, "net") == before
    assert set(rich.bucket.keys("blobs/")) == blobs
    assert [a.name for a in rich.artifacts()] == ["net"]
    with pytest.raises(ArtifactNotFound, match="m was renamed: its versions are in net now"):
        rich.version("m:prod")
    with pytest.raises(ArtifactNotFound, match="m was renamed: its versions are in net now"):
        rich.artifact("m")
    with pytest.raises(ArtifactNotFound, match="m was renamed already: its versions are in net"):
        rich.rename("m", "other")
    with pytest.raises(ArtifactNotFound, match=r"renamed to net, not removed.*kept mv net m"):
        rich.restore_artifact("m")
    assert rich.restore_artifacts("*") == []
    assert rich.verify().problems == []
    assert rich.problems() == []


def test_the_new_name_is_enough_for_gc(rich, tmp_path):
    rich.rename("m", "net")
    rich.gc(grace=0)
    assert rich.verify().problems == []
    for version in rich.versions("net"):
        version.download(tmp_path / version.version)


def test_rename_it_back(rich, log):
    rich.rename("m", "net")
    rich.delete("net:v3", force=True)
    rich.set_alias("net:v0", "late")
    log(rich, "net", aliases=["new"])
    before = state(rich, "net")
    assert rich.rename("net", "m") == 3
    after = state(rich, "m")
    # In the old log the versions were removed and restored; all else is the same.
    assert [r._replace(undeleted=False) for r in after] == [
        r._replace(undeleted=False) for r in before
    ]
    assert [v.index for v in rich.versions("m")] == [0, 1, 4]
    assert rich.versions("net") == []
    for n in range(3):
        rich.rename(*(("m", "net") if n % 2 == 0 else ("net", "m")))
    assert [v.index for v in rich.versions("net")] == [0, 1, 4]
    assert rich.verify().problems == []


def test_a_version_that_comes_meanwhile_comes_along(store, log, monkeypatch):
    log(store)
    append, late = Log.append_after, iter([1, 2])

    def slow(self, view, event):
        if event["event"] == "remove" and next(late, None):
            log(kept.Store(store.bucket), "m", aliases=["late"])
        return append(self, view, event)

    monkeypatch.setattr(Log, "append_after", slow)
    assert store.rename("m", "net") == 3
    assert [v.index for v in store.versions("net")] == [0, 1, 2]
    assert store.version("net:late").index == 2
    assert store.versions("m") == []


def test_a_version_that_comes_later_is_brought_along(store, log):
    log(store)
    store.rename("m", "net")
    assert log(store).reference == "m:v1"  # of a run that still has the old name
    assert store.rename("m", "net") == 1
    assert [v.index for v in store.versions("net")] == [0, 1]


def test_a_name_is_put_aside_more_than_once(store, log, tmp_path):
    for number in range(3):
        assert log(store, aliases=["mine"]).index == number
        store.rename("m", f"old-{number}")
    assert [[v.index for v in store.versions(f"old-{n}")] for n in range(3)] == [[0], [1], [2]]
    assert [store.version(f"old-{n}:mine").index for n in range(3)] == [0, 1, 2]
    store.gc(grace=0)
    assert store.verify().problems == []
    with pytest.raises(InvalidName, match="m was removed, and its numbers"):
        store.rename("old-0", "m")  # it lacks the versions that m had later
    assert store.rename("old-2", "m") == 1
    assert [v.index for v in store.versions("m")] == [2]


def test_both_names_go_on(store, log):
    log(store)
    store.rename("m", "net")
    log(store)
    log(store, "net")
    with pytest.raises(InvalidName, match=r"net exists already.*kept cp m:v1 net"):
        store.rename("m", "net")
    assert [v.index for v in store.versions("m")] == [1]
    assert [v.index for v in store.versions("net")] == [0, 1]


def test_undelete_brings_no_version_back_under_the_old_name(store, log):
    log(store)
    log(store)
    store.delete("m:v0")
    store.rename("m", "net")
    log(store)
    with pytest.raises(VersionNotFound, match=r"m:v1 was not deleted.*net:v1.*kept mv net m"):
        store.undelete("m:v1")
    assert [v.index for v in store.versions("m")] == [2]
    store.rename("m", "net")
    store.undelete("net:v0")
    assert [v.index for v in store.versions("net")] == [0, 1, 2]
    store.rename("net", "m")
    store.delete("m:v1")
    store.undelete("m:v1")
    assert [v.index for v in store.versions("m")] == [0, 1, 2]


def test_bad_names(store, log):
    log(store)
    log(store, "other")
    log(store, "gone")
    store.remove_artifact("gone")
    with pytest.raises(InvalidName, match="other exists already"):
        store.rename("m", "other")
    with pytest.raises(InvalidName, match="gone was removed, and its numbers"):
        store.rename("m", "gone")
    with pytest.raises(InvalidName, match="is another one"):
        store.rename("m", "m")
    with pytest.raises(InvalidName):
        store.rename("m", "a/b")
    with pytest.raises(ArtifactNotFound, match="'none'"):
        store.rename("none", "b")
    with pytest.raises(ArtifactNotFound, match="all were deleted"):
        store.rename("gone", "b")
    assert [a.name for a in store.artifacts()] == ["m", "other"]


def test_a_protected_alias_keeps_the_name(store, log):
    log(store)
    store.promote("m:v0", "prod")
    store.protect("prod")
    with pytest.raises(AliasProtected, match="m:prod would no longer exist"):
        store.rename("m", "net")
    store.unprotect("prod")
    store.rename("m", "net")
    assert store.version("net:prod").index == 0


class Failing(Wrapped):
    """A bucket whose writes fail after a number of them."""

    left = 10**6

    def _count(self):
        self.left -= 1
        if self.left < 0:
            raise OSError("the disk is gone")

    def put(self, key, parts):
        self._count()
        self.inner.put(key, parts)

    def put_if_absent(self, key, parts):
        self._count()
        self.inner.put_if_absent(key, parts)


def test_it_can_end_at_any_write_and_continues(log):
    steps = 0
    while True:
        bucket = Failing(MemoryBucket())
        store = kept.Store(bucket)
        log(store, aliases=["a"])
        log(store)
        store.delete("m:v0", force=True)
        store.undelete("m:v0")
        bucket.left = steps
        try:
            kept.Store(bucket).rename("m", "net")
            break
        except (OSError, KeptError):
            bucket.left = 10**6
        names = {a.name for a in kept.Store(bucket).artifacts()}
        assert "m" in names, "until the last step the old name has all versions"
        assert [v.index for v in kept.Store(bucket).versions("m")] == [0, 1]
        assert kept.Store(bucket).verify().problems == []
        kept.Store(bucket).rename("m", "net")
        assert [v.index for v in kept.Store(bucket).versions("net")] == [0, 1]
        assert kept.Store(bucket).version("net:a").index == 0
        assert kept.Store(bucket).versions("m") == []
        steps += 1
    assert steps > 10


def test_several_rename_the_same_at_once(log):
    bucket = MemoryBucket()
    store = kept.Store(bucket)
    for _ in range(6):
        log(store)
    wrong = []

    def work(name):
        try:
            kept.Store(bucket).rename("m", name)
        except (ArtifactNotFound, InvalidName) as error:
            wrong.append(str(error))

    names = ["a", "b", "a", "b"]
    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    found = [a.name for a in kept.Store(bucket).artifacts()]
    assert found in (["a"], ["b"])
    assert [v.index for v in store.versions(found[0])] == list(range(6))
    assert len(wrong) == 3
    assert kept.Store(bucket).verify().problems == []


def test_damage_does_not_prevent_it(store, log):
    log(store)
    log(store)
    [blob] = {chunk.blob for file in store.version("m:v0").files for chunk in file.chunks}
    store.bucket.delete(f"blobs/{blob[:2]}/{blob}")
    assert store.rename("m", "net") == 2
    assert {problem.where for problem in store.verify().problems} == {"net:v0"}


def test_mirrors_follow_and_have_to_confirm_the_new_name(store, log):
    mirror = kept.Store(MemoryBucket())
    log(store)
    log(store)
    receipts = Receipts(store.bucket, mirror.location)
    receipts.register("m")
    Sync(store, mirror, "m").run(receipts)
    store.rename("m", "net")
    waiting = store.prune("net", kept.Keep(last=1), dry_run=True)
    assert all(decision.keep for decision in waiting)
    blobs = set(mirror.bucket.keys("blobs/"))
    for name in receipts.artifacts():
        Sync(store, mirror, name).run(receipts)
    assert [a.name for a in mirror.artifacts()] == ["net"]
    assert state(mirror, "net") == state(store, "net")
    assert set(mirror.bucket.keys("blobs/")) == blobs
    store.rename("net", "m")
    for name in receipts.artifacts():
        Sync(store, mirror, name).run(receipts)
    assert [a.name for a in mirror.artifacts()] == ["m"]
    assert [v.index for v in mirror.versions("m")] == [0, 1]


def test_retention_after_it(store, log):
    for n in range(4):
        log(store, aliases=[f"epoch_{n}"])
    store.rename("m", "net")
    assert [d.keep for d in store.prune("net", kept.Keep(last=2))] == [False, False, True, True]
    store.gc(grace=0)
    assert [v.index for v in store.versions("net")] == [2, 3]
    store.rename("net", "m")
    assert [v.index for v in store.versions("m")] == [2, 3]
    assert store.verify().problems == []

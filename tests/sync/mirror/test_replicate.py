"""Copying artifacts between stores: numbers, aliases, deletions and metadata are kept."""

from __future__ import annotations

import itertools
import random

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import ArtifactNotFound, Diverged, KeptError
from kept.sync.mirror.replicate import Sync
from tests.helpers import Wrapped, tree, write


@pytest.fixture
def source(tmp_path):
    return kept.open_store(tmp_path / "source")


@pytest.fixture
def target():
    return kept.Store(MemoryBucket())


@pytest.fixture
def log(tmp_path):
    numbers = itertools.count()

    def log(store, name="m", **options):
        path = write(tmp_path / "f", b"content %d" % next(numbers) * 1000)
        return store.log_artifact(name, path, **options)

    return log


def state(store, name="m"):
    """All that users see of an artifact, deleted versions included."""
    from kept.store.log.history import version_records

    return [e._replace(manifest="") for e in version_records(store.log(name).view().items())]


def test_everything_is_kept(source, target, log, tmp_path):
    for n in range(4):
        log(source, aliases=[f"e{n}", "best"], metadata={"n": n})
    source.set_alias("m:v1", "prod")
    source.remove_alias("m", "e0")
    source.delete("m:v2", force=True)
    copied = Sync(source, target, "m").run()
    assert (copied.versions, copied.changes, copied.blobs) == (4, 3, 3)
    assert state(target) == state(source)
    assert [v.index for v in target.versions("m")] == [0, 1, 3]
    assert target.verify().problems == []
    one, other = (s["m:prod"].download(tmp_path / s.location.strip("/:")) for s in (source, target))
    assert tree(one) == tree(other)


def test_a_second_run_copies_nothing_and_a_later_one_what_is_new(source, target, log):
    log(source)
    sync = Sync(source, target, "m")
    assert sync.run().versions == 1
    for again in (sync, Sync(source, target, "m")):
        copied = again.run()
        assert (copied.versions, copied.changes, copied.blobs) == (0, 0, 0)
    log(source)
    source.set_alias("m:v0", "prod")
    assert sync.run().versions == 1
    assert Sync(source, target, "m").run().versions == 0
    assert state(target) == state(source)


class Failing(Wrapped):
    """A bucket that takes so many values, and then fails."""

    location, is_remote = "failing:", False

    def __init__(self, inner, left):
        super().__init__(inner)
        self.left = left

    def put(self, key, parts):
        self._count()
        self.inner.put(key, parts)

    def put_many(self, items, transfer=None):
        for key, parts in items:
            self.put(key, parts)

    def put_if_absent(self, key, parts):
        self._count()
        self.inner.put_if_absent(key, parts)

    def _count(self):
        if not self.left:
            raise KeptError("broken off")
        self.left -= 1


@pytest.mark.parametrize("step", [3, 4, 5])  # to store a manifest again takes three
def test_it_goes_on_wherever_it_was_broken_off(source, log, step):
    for _ in range(3):
        log(source, aliases=["best"])
    source.delete("m:v0", force=True)
    source.set_alias("m:v1", "prod")
    inner = MemoryBucket()
    for attempt in range(30):
        try:
            Sync(source, kept.Store(Failing(inner, step)), "m").run()
            break
        except KeptError:
            if attempt:  # what is there is whole
                assert kept.Store(inner).verify().problems == []
    assert state(kept.Store(inner)) == state(source)


def test_an_alias_set_on_the_mirror_stays_and_comes_back(source, target, log):
    log(source, aliases=["best"])
    Sync(source, target, "m").run()
    target.set_alias("m:v0", "prod")
    log(source, aliases=["best"])
    Sync(source, target, "m").run()
    assert [v.aliases for v in target.versions("m")] == [("prod",), ("latest", "best")]
    Sync(target, source, "m").run()
    assert [v.aliases for v in source.versions("m")] == [("prod",), ("latest", "best")]
    for one, other in ((source, target), (target, source)):
        copied = Sync(one, other, "m").run()
        assert (copied.versions, copied.changes) == (0, 0)


def test_what_comes_back_late_does_not_overrule_what_came_after_it(source, target, log):
    log(source)
    Sync(source, target, "m").run()
    target.set_alias("m:v0", "best")
    target.delete("m:v0", force=True)
    log(source, aliases=["best"])
    Sync(source, target, "m").run()
    Sync(target, source, "m").run()
    assert source["m:best"].index == target["m:best"].index == 1
    assert [v.index for v in source.versions("m")] == [1]


def test_a_store_that_went_its_own_way_is_refused(source, target, log):
    log(source)
    Sync(source, target, "m").run()
    log(target)
    log(source)
    before = state(target)
    with pytest.raises(Diverged, match="expected v2 as its next version, found v1"):
        Sync(source, target, "m").run()
    assert state(target) == before


def test_a_target_that_is_ahead_is_left_alone(source, target, log):
    log(source)
    Sync(source, target, "m").run()
    log(target)
    assert Sync(source, target, "m").run().versions == 0
    assert Sync(target, source, "m").run().versions == 1
    assert state(source) == state(target)


def test_a_deleted_version_whose_content_is_gone(source, target, log):
    log(source)
    log(source)
    source.delete("m:v0")
    manifest = source.log("m").records.read(1)["manifest"]
    source.bucket.delete(f"manifests/{manifest[:2]}/{manifest}.json")
    Sync(source, target, "m").run()
    assert [v.index for v in target.versions("m")] == [1]
    assert state(target) == state(source)


def test_two_at_once_copy_everything_once(source, tmp_path, log):
    from concurrent.futures import ThreadPoolExecutor

    for n in range(10):
        log(source, aliases=["best", f"e{n}"])
    location = tmp_path / "target"
    with ThreadPoolExecutor(4) as pool:
        runs = [
            pool.submit(lambda: Sync(source, kept.open_store(location), "m").run())
            for _ in range(4)
        ]
        for run in runs:
            run.result()
    assert state(kept.open_store(location)) == state(source)
    assert kept.open_store(location).verify().problems == []


def test_no_such_artifact(source, target):
    with pytest.raises(ArtifactNotFound, match="'none'"):
        Sync(source, target, "none").run()


@pytest.mark.parametrize("seed", range(8))
def test_random_histories_on_both_sides_converge(source, target, log, seed):
    """Versions come from the source only; aliases and deletions from either side."""
    choose = random.Random(seed)
    log(source)
    Sync(source, target, "m").run()
    for _ in range(25):
        step = choose.choice(["log", "alias", "delete", "there", "back", "alias_there"])
        if step == "log":
            log(source, aliases=choose.sample(["best", "a", "b"], choose.randrange(3)))
        elif step in ("there", "back"):
            pair = (source, target) if step == "there" else (target, source)
            Sync(*pair, "m").run()
        else:
            store = target if step == "alias_there" else source
            versions = store.versions("m")
            if versions and step == "delete" and len(versions) > 1:
                store.delete(choose.choice(versions).reference, force=True)
            elif versions:
                store.set_alias(choose.choice(versions).reference, choose.choice(["prod", "c"]))
    Sync(source, target, "m").run()
    Sync(target, source, "m").run()
    for store in (source, target):
        assert store.verify().problems == []
    ids = [{e["write_id"] for e in store.log("m").view().backwards()} for store in (source, target)]
    assert ids[0] == ids[1]
    assert [e.index for e in state(source)] == [e.index for e in state(target)]


def test_a_version_that_gc_frees_while_it_is_copied(tmp_path):
    source, target = kept.open_store(tmp_path / "a"), kept.open_store(tmp_path / "b")
    for n in range(3):
        source.log_artifact("m", write(tmp_path / "in" / "f", str(n).encode()))
    view = source.log("m").view
    seen = []

    class Early:
        """Hands out the log as it was before the deletion."""

        def __call__(self):
            found = view()
            if not seen:
                seen.append(found)
                source.delete("m:v1")
                source.gc(grace=0)
            return found

    source.log("m").view = Early()
    Sync(source, target, "m").run()
    del source.log("m").view
    assert [v.index for v in target.versions("m")] == [0, 2]
    Sync(source, target, "m").run()
    assert [v.index for v in target.deleted("m")] == [1]
    assert target.verify().ok

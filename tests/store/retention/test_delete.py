"""Deleting by retention, expiry, and taking deletions back, in a real store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import kept
from kept.digest import digest
from kept.errors import ArtifactNotFound, Damaged, InvalidInput, VersionGone, VersionNotFound
from kept.store.blobs.blob import bases_lock, blob_key
from kept.store.content.manifest import manifest_key
from kept.store.encoding import canonical, parse
from kept.store.receipts import MirrorHead, Receipts
from kept.store.retention import delete, mirrored
from tests.helpers import Wrapped, tree

ALIAS = {"event": "alias", "aliases": {}}


@pytest.fixture
def five(store, file):
    """Five versions of m: v1 is the best, v0 to v4 have the callback's alias."""
    for n in range(5):
        aliases = [f"epoch_{n}", *(["best"] if n == 1 else [])]
        store.log_artifact("m", file(b"%d" % n * 1000), aliases=aliases, metadata={"epoch": n})
    return store


def indexes(store):
    return [version.index for version in store.versions("m")]


def test_prune_deletes_what_it_says_and_says_it_again(five):
    planned = five.prune("m", kept.Keep(last=2), dry_run=True)
    assert indexes(five) == [0, 1, 2, 3, 4]
    assert [d.record.index for d in planned if not d.keep] == [0, 2]
    assert five.prune("m", kept.Keep(last=2)) == planned
    assert indexes(five) == [1, 3, 4]
    assert all(decision.keep for decision in five.prune("m", kept.Keep(last=2)))
    assert [v.index for v in five.deleted("m")] == [0, 2]


def test_the_log_gives_the_reason(five):
    five.prune("m", kept.Keep(last=2))
    events = list(five.log("m").view().backwards())
    assert [e.get("reason") for e in events if e["event"] == "delete"] == ["no rule keeps it"] * 2


def test_other_artifacts_are_not_touched(five, file):
    for n in range(3):
        five.log_artifact("other", file(b"other %d" % n))
    five.prune("m", kept.Keep(last=1))
    assert len(five.versions("other")) == 3
    with pytest.raises(ArtifactNotFound):
        five.prune("nothing", kept.Keep(last=1))


def test_what_is_named_while_it_is_decided_stays(five, monkeypatch):
    """Between the decision and the deletion a person puts an alias on what is to go."""
    plan, named = delete.plan_prune, []

    def slow(*args, **options):
        decisions = plan(*args, **options)
        if not named:
            named.append(kept.Store(five.bucket).set_alias("m:v2", "prod"))
        return decisions

    monkeypatch.setattr(delete, "plan_prune", slow)
    found = five.prune("m", kept.Keep(last=2))
    assert indexes(five) == [1, 2, 3, 4]
    assert [d.record.index for d in found if not d.keep] == [0]


def test_what_a_mirror_lacks_stays(five, tmp_path):
    """The mirrors are asked before a deletion: what a receipt says can be over."""
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    head = MirrorHead(1, kept.open_store(one).log("m").append(ALIAS)["write_id"])
    kept.open_store(two).log("m").append(ALIAS | {"write_id": head.write_id})
    Receipts(five.bucket, one).confirm("m", 3, 4, head)
    lagging = Receipts(five.bucket, two)
    lagging.register("m")
    Receipts(five.bucket, "s3://b/three").register("another")
    five.prune("m", kept.Keep(last=1))
    assert indexes(five) == [0, 1, 2, 3, 4]
    lagging.confirm("m", 1, 0, head)
    five.prune("m", kept.Keep(last=1))
    assert indexes(five) == [1, 2, 3, 4]
    [key] = [k for k in five.bucket.keys("outbox/") if b"two" in five.bucket.get(k)]
    five.bucket.put(key, [b"damaged"])
    five.prune("m", kept.Keep(last=1))
    assert indexes(five) == [1, 2, 3, 4]
    lagging.confirm("m", 9, 4, head)
    five.prune("m", kept.Keep(last=1))
    assert indexes(five) == [1, 4]


@pytest.mark.parametrize(
    ("place", "head", "why"),
    [
        ("there", None, "its receipt is of an earlier kept; run kept sync"),
        ("there", MirrorHead(1, "0" * 32), "it was replaced: record 1 is another one"),
        ("there", MirrorHead(2, "0" * 32), "it was emptied or restored: record 2 cannot be read"),
        ("gone", MirrorHead(1, "0" * 32), "it was emptied or restored: record 1 cannot be read"),
        ("strange://x", MirrorHead(1, "0" * 32), "A store is a folder"),
    ],
)
def test_nothing_is_deleted_on_the_word_of_a_mirror_that_confirms_nothing(
    five, tmp_path, place, head, why
):
    kept.open_store(tmp_path / "there").log("m").append(ALIAS)
    place = place if ":" in place else str(tmp_path / place)
    Receipts(five.bucket, place).confirm("m", 3, 4, head)
    for dry_run in (True, False):
        found = five.prune("m", kept.Keep(last=1), dry_run=dry_run)
        assert all(decision.keep for decision in found)
        [reason] = found[0].reasons
        assert reason.startswith(f"not confirmed by the mirror {place}: {why}")
    five.set_ttl("m:v0", 0)
    five.gc(grace="0s")
    assert indexes(five) == [0, 1, 2, 3, 4]


def test_a_caller_that_may_not_wait_asks_no_server(five, monkeypatch):
    Receipts(five.bucket, "s3://b/silent").confirm("m", 3, 4, MirrorHead(1, "0" * 32))
    monkeypatch.setattr(mirrored, "_problem", None)
    found = delete.prune(five.log("m"), kept.Keep(last=1), waits=False)
    assert all(decision.keep for decision in found)
    assert "a mirror has to confirm it, and was not asked" in found[0].reasons


def test_gc_holds_no_lock_while_a_mirror_is_asked(five, monkeypatch):
    Receipts(five.bucket, "s3://b/silent").confirm("m", 3, 4, MirrorHead(1, "0" * 32))
    five.set_ttl("m:v0", 0)
    free = []

    def problem(_):
        with bases_lock(five.bucket) as held:
            free.append(held)

    monkeypatch.setattr(mirrored, "_problem", problem)
    assert five.gc(grace=0).expired == ("m:v0",)
    assert free == [True]


def test_a_budget_reads_the_manifests(five):
    five.prune("m", kept.Keep(bytes=3000))  # v4 and v1 never go
    assert indexes(five) == [1, 3, 4]


def test_ttl_of_a_commit_and_ttl_set_later(five, file):
    soon = five.log_artifact("m", file(b"soon"), ttl="0s")
    late = five.log_artifact("m", file(b"late"), ttl=timedelta(days=7))
    five.log_artifact("m", file(b"never"))
    left = datetime.fromisoformat(late.record.expires) - datetime.now(UTC)
    assert timedelta(days=6) < left <= timedelta(days=7)
    assert five.set_ttl("m:v0", 0).record.expires is not None
    five.set_ttl("m:v2", 0)
    assert five.set_ttl("m:v2", None).record.expires is None
    found = five.prune("m", None)
    gone = {d.record.index: d.reasons for d in found if not d.keep}
    assert list(gone) == [0, soon.index]
    assert gone[soon.index] == (f"expired {soon.record.expires}",)
    with pytest.raises(InvalidInput, match=r"ttl is a time.*Received: 'never'"):
        five.set_ttl("m:v1", "never")
    with pytest.raises(InvalidInput, match="ttl is a time"):
        five.log_artifact("m", file(b"x"), ttl="x")


def test_the_same_content_again_takes_the_new_ttl(store, file):
    path = file(b"same")
    store.log_artifact("m", path)
    assert store.log_artifact("m", path, ttl="1d").record.expires is not None
    assert indexes(store) == [0]


class DeletesAtOnce(Wrapped):
    """Another process deletes a version at the moment when the second record exists."""

    def __init__(self, inner, reference="m:v1"):
        super().__init__(inner)
        self._reference = reference

    def put_if_absent(self, key, parts):
        self.inner.put_if_absent(key, parts)
        if key.endswith("/log/00000000000000000002.json"):
            kept.Store(self.inner).delete(self._reference, force=True)


def test_a_version_that_is_deleted_right_after_its_commit_was_logged_all_the_same(store, file):
    store.log_artifact("m", file(b"first"))
    version = kept.Store(DeletesAtOnce(store.bucket)).log_artifact("m", file(b"second"))
    assert (version.reference, version.aliases) == ("m:v1", ())
    assert version.record.deleted
    assert indexes(store) == [0]
    with pytest.raises(VersionNotFound, match="v1 was deleted"):
        store.version(version.reference)
    with pytest.raises(VersionNotFound, match="v9"):
        store.logged("m", 9)


@pytest.mark.parametrize("change", ["alias", "ttl"])
def test_what_is_changed_of_a_version_that_is_deleted_right_after_was_changed(store, file, change):
    store.log_artifact("m", file(b"only"))
    other = kept.Store(DeletesAtOnce(store.bucket, "m:v0"))
    if change == "alias":
        assert other.set_alias("m:v0", "prod").aliases == ("prod",)
    else:
        assert other.set_ttl("m:v0", "1d").record.expires is not None
    assert indexes(store) == []


def test_undelete_brings_back_content_and_aliases(five, tmp_path):
    five.delete("m:best", force=True)
    five.delete("m:v4", force=True)
    assert five.version("m").index == 3
    version = five.undelete("m:v1")
    assert version.aliases == ("best", "epoch_1")
    assert tree(version.download(tmp_path / "out"))["model.bin"] == b"1" * 1000
    last = five.deleted("m")[0]
    assert five.undelete(f"m@{last.digest}").aliases == ("latest", "epoch_4")
    assert indexes(five) == [0, 1, 2, 3, 4]


def test_what_was_undeleted_no_rule_deletes_again(five):
    five.prune("m", kept.Keep(last=1))
    five.set_ttl("m:v4", 0)
    five.undelete("m:v2")
    decisions = five.prune("m", kept.Keep(last=1))
    assert [d.reasons for d in decisions if d.record.index == 2] == [("undeleted",)]
    assert indexes(five) == [1, 2, 4]
    five.delete("m:v2", force=True)
    assert indexes(five) == [1, 4]


def test_undelete_of_what_is_not_deleted_changes_nothing(five):
    head = five.log("m").view().head
    assert five.undelete("m:v2").index == 2
    assert five.log("m").view().head == head
    for reference in ("m:v9", "m:nothing", "m@0123456789"):
        with pytest.raises(VersionNotFound):
            five.undelete(reference)


@pytest.mark.parametrize("what", ["manifest", "blob"])
def test_undelete_of_what_is_gone_says_so(five, what):
    version = five.delete("m:v2", force=True)
    [blob] = {chunk.blob for chunk in version.manifest.chunks()}
    key = f"blobs/{blob[:2]}/{blob}" if what == "blob" else manifest_key(version.record.manifest)
    five.bucket.delete(key)
    with pytest.raises(VersionGone, match=r"m:v2 was deleted on 2.*gc has removed its content"):
        five.undelete("m:v2")
    assert indexes(five) == [0, 1, 3, 4]


class Vanishes(Wrapped):
    """A gc deletes a manifest, and some blobs, as soon as the manifest has been read."""

    def __init__(self, inner, *keys):
        super().__init__(inner)
        self.gone = keys

    def get(self, key, *args):
        data = bytes(self.inner.get(key, *args))
        if key in self.gone[:1]:
            for each in self.gone:
                self.inner.delete(each)
            self.gone = ()
        return data


@pytest.mark.parametrize("blobs_too", [False, True])
def test_undelete_while_a_gc_deletes_a_manifest_with_unknown_keys(five, blobs_too):
    version = five.delete("m:v2", force=True)
    [blob] = {blob_key(chunk.blob) for chunk in version.manifest.chunks()}
    known = bytes(five.bucket.get(manifest_key(version.record.manifest)))
    data = canonical(parse(known, "m") | {"zzz": 1})
    key = manifest_key(digest(data))
    five.bucket.put(key, [data])
    five.log("m").append({
        "event": "version", "index": 5, "type": "model", "manifest": digest(data),
        "digest": version.digest, "size": version.size, "aliases": [], "metadata": {},
    })  # fmt: skip
    five.delete("m:v5", force=True)
    store = kept.Store(Vanishes(five.bucket, key, *([blob] if blobs_too else [])))
    if blobs_too:
        with pytest.raises(VersionGone):
            store.undelete("m:v5")
    else:
        assert store.undelete("m:v5").verify().ok
        assert bytes(five.bucket.get(key)) == data


def test_undelete_of_damaged_content_names_the_damage(five):
    version = five.delete("m:v2", force=True)
    key = manifest_key(version.record.manifest)
    five.bucket.put(key, [b"{}"])
    with pytest.raises(Damaged, match=key):
        five.undelete("m:v2")


def test_prune_ends_however_fast_others_write(five, monkeypatch):
    """Another writer is faster each time; then it rests."""
    log, other, left = five.log("m"), kept.Store(five.bucket), [0]
    append_after = type(log).append_after

    def slow(self, view, event):
        if event["event"] == "delete" and left[0]:
            left[0] -= 1
            other.log_artifact("m", kept.MemoryFile("f", [b"%d" % left[0]]))
        return append_after(self, view, event)

    monkeypatch.setattr(type(log), "append_after", slow)
    left[0] = 1000
    found = five.prune("m", kept.Keep(last=2))
    assert 900 < left[0] < 1000
    assert {d.reasons for d in found if d.record.index in (0, 2)} == {
        ("other writers were faster: prune again to delete it",)
    }
    left[0] = 30
    found = five.prune("m", kept.Keep(last=1))
    assert [d.record.index for d in found if not d.keep][:3] == [0, 2, 3]
    assert five.versions("m")[0].index == 1


def test_what_another_process_deletes_meanwhile_is_in_no_decision(five, monkeypatch):
    plan, gone = delete.plan_prune, []

    def slow(*args, **options):
        decisions = plan(*args, **options)
        if not gone:
            gone.append(kept.Store(five.bucket).delete("m:v2", force=True))
        return decisions

    monkeypatch.setattr(delete, "plan_prune", slow)
    found = five.prune("m", kept.Keep(last=2))
    assert [(d.record.index, d.keep) for d in found] == [
        (0, False),
        (1, True),
        (3, True),
        (4, True),
    ]

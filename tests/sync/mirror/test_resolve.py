"""A divergence is resolved without losing a version, wherever the call is interrupted."""

from __future__ import annotations

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import AliasProtected, BeingCollected, Diverged, KeptError, StoreReplaced
from kept.store.receipts import Receipts
from kept.sync.mirror.replicate import Sync
from kept.sync.mirror.resolve import rename_history
from tests.sync.mirror.test_merge import Named
from tests.sync.mirror.test_replicate import Failing, state


def log(store, text, **options):
    return store.log_artifact("m", kept.MemoryFile("f", [text.encode()]), **options)


def diverged(common=2, own=3):
    winner, loser = kept.Store(Named("memory:winner")), Named("memory:loser")
    for n in range(common):
        log(winner, f"{n}")
    if common:
        Sync(winner, kept.Store(loser), "m").run()
    for n in range(own):
        log(winner, f"winner {n}", aliases=["best"])
        log(kept.Store(loser), f"loser {n}", aliases=["best"], metadata={"n": n})
    kept.Store(loser).set_alias("m:v0", "prod")
    return winner, loser


class Interrupted(Failing):
    """A bucket that takes so many changes, deletions included, and then fails."""

    def delete(self, key):
        self._count()
        self.inner.delete(key)


@pytest.mark.parametrize("steps", range(0, 24, 2))
def test_an_interrupted_call_continues_and_no_version_is_lost(steps):
    winner, loser = diverged()
    before = state(kept.Store(loser))
    for attempt in range(40):
        bucket = loser if attempt else Interrupted(loser, steps)
        try:
            rename_history(kept.Store(bucket), winner, "m")
            break
        except KeptError:
            assert kept.Store(loser).verify().ok
    Sync(winner, kept.Store(loser), "m").run()
    assert kept.Store(loser).verify().ok
    assert state(kept.Store(loser)) == state(winner)
    copies = [a.name for a in kept.Store(loser).artifacts() if a.name != "m"]
    assert copies == ["m-2"]
    assert state(kept.Store(loser), "m-2") == before
    assert rename_history(kept.Store(loser), winner, "m") is None


def test_logs_with_nothing_in_common_and_with_pages():
    winner, loser = diverged(common=0, own=70)
    assert rename_history(kept.Store(loser), winner, "m", "old") == "old"
    Sync(winner, kept.Store(loser), "m").run()
    assert state(kept.Store(loser)) == state(winner)
    assert len(kept.Store(loser).versions("old")) == 70
    assert kept.Store(loser).verify().ok


def test_the_next_free_name_is_taken():
    winner, loser = diverged()
    kept.Store(loser).log_artifact("m-2", kept.MemoryFile("f", [b"another"]))
    assert rename_history(kept.Store(loser), winner, "m") == "m-3"


def test_a_store_that_is_only_ahead_has_not_diverged():
    winner, loser = diverged(own=0)
    log(kept.Store(loser), "more")
    assert rename_history(kept.Store(loser), winner, "m") is None
    assert rename_history(winner, kept.Store(loser), "m") is None


def test_a_writer_that_has_read_the_old_records_stops():
    winner, loser = diverged()
    writer = kept.Store(loser)
    writer.versions("m")
    rename_history(kept.Store(loser), winner, "m")
    with pytest.raises(StoreReplaced):
        log(writer, "late")
    Sync(winner, kept.Store(loser), "m").run()
    with pytest.raises(StoreReplaced):
        log(writer, "late")
    assert kept.Store(loser).verify().ok


def test_its_own_mirrors_no_longer_confirm_what_is_cut():
    winner, loser = diverged()
    further = Named("memory:further")
    receipts = Receipts(loser, further.location)
    receipts.register("m")
    Sync(kept.Store(loser), kept.Store(further), "m").run(receipts)
    rename_history(kept.Store(loser), winner, "m")
    found = receipts.receipt("m")
    assert (found.record, found.version) == (2, 1)
    Sync(winner, kept.Store(loser), "m").run()
    with pytest.raises(Diverged):
        Sync(kept.Store(loser), kept.Store(further), "m").run(receipts)
    rename_history(kept.Store(further), kept.Store(loser), "m")
    Sync(kept.Store(loser), kept.Store(further), "m").run(receipts)
    assert state(kept.Store(further)) == state(winner)


def test_it_waits_for_a_gc():
    winner, loser = diverged()
    loser.put("gc/0123.json", [b'{"keys":[]}'])
    with pytest.raises(BeingCollected, match="kept gc"):
        rename_history(kept.Store(loser), winner, "m")
    assert len(kept.Store(loser).versions("m")) == 5


def test_an_empty_store_has_not_diverged():
    winner, _ = diverged()
    assert rename_history(kept.Store(MemoryBucket()), winner, "m") is None


def test_a_protected_alias_is_not_moved():
    winner, loser = diverged()
    store = kept.Store(loser)
    store.protect("prod")
    before = state(store)
    with pytest.raises(
        AliasProtected, match=r"m:prod is on v0 .* on no version in .*--remove prod"
    ):
        rename_history(store, winner, "m")
    assert state(kept.Store(loser)) == before
    assert [a.name for a in kept.Store(loser)] == ["m"]
    winner.promote("m:v4", "prod")
    with pytest.raises(AliasProtected, match="on v4 in"):
        rename_history(store, winner, "m")
    winner.promote("m:v0", "prod")
    assert rename_history(kept.Store(loser), winner, "m") == "m-2"
    Sync(winner, kept.Store(loser), "m").run()
    assert kept.Store(loser).version("m:prod").index == 0

"""keep, gc and on_error: which versions stay, when their bytes go, and what a full disk does."""

from __future__ import annotations

import errno
import math
import os
import threading

import pytest

import kept
from kept.bucket.local import LocalBucket
from kept.errors import InvalidCheckpoint, InvalidInput, KeptError, SaveFailed, VersionGone
from kept.store.receipts import Receipts
from kept.training.save import write_checkpoint
from kept.training.upkeep import gc as freeing
from tests.training.helpers import fit, play

pytestmark = pytest.mark.any_framework


def test_versions_that_no_rule_keeps_go_after_each_commit(model, data, store):
    checkpoint = kept.ModelCheckpoint(
        "{epoch}.keras", monitor="loss", name="m", store=store, keep=kept.Keep(last=2)
    )
    model.fit(*data, epochs=5, verbose=0, callbacks=[checkpoint])
    left = {version.index for version in store.versions("m")}
    assert left == {3, 4, store["m:best"].index}
    assert len(checkpoint.versions) == 5
    store.version("m").load_model()
    # A second run goes on with what the log says.
    again = kept.ModelCheckpoint(
        "{epoch}.keras", monitor="loss", name="m", store=store, keep=kept.Keep(last=1)
    )
    model.fit(*data, epochs=1, verbose=0, callbacks=[again])
    assert {v.index for v in store.versions("m")} == {5, store["m:best"].index}


def keeping(store, keep, **options):
    return kept.ModelCheckpoint(
        "m.keras", monitor="loss", name="m", store=store, keep=keep, **options
    )


def manifests(store):
    return len(list(store.bucket.keys("manifests/")))


def test_the_bytes_of_what_keep_deletes_are_freed_by_the_end(model, data, store):
    fit(model, data, keeping(store, kept.Keep(last=1), gc="0s"), epochs=4)
    assert manifests(store) == len(store.versions("m"))
    with pytest.raises(VersionGone):
        store.undelete("m:v0")
    assert store.verify().problems == []
    assert list(store.bucket.keys("gc/")) == []


def test_in_object_storage_too(model, data, s3, tmp_path, monkeypatch):
    monkeypatch.setenv("KEPT_OUTBOX", str(tmp_path / "outbox"))
    fit(model, data, keeping(s3, kept.Keep(last=1), gc="0s"), epochs=4)
    store = kept.open_store(s3)
    assert {v.index for v in store.versions("m")} == {3, store["m:best"].index}
    assert manifests(store) == len(store.versions("m"))
    assert store.verify().problems == []


def test_they_are_freed_while_the_model_trains_and_off_its_thread(model, data, store, monkeypatch):
    monkeypatch.setattr(freeing, "_PAUSE", 0.0)
    monkeypatch.setattr(freeing, "_SHARE", 0)
    real, threads = freeing.collect_ruled_out, []

    def collect(*args):
        threads.append(threading.current_thread().name)
        return real(*args)

    monkeypatch.setattr(freeing, "collect_ruled_out", collect)
    callback = keeping(store, kept.Keep(last=1), gc=0)
    for _ in range(3):
        fit(model, data, callback, epochs=2)
    assert len(threads) >= 3
    assert set(threads) == {"kept-gc"}
    assert manifests(store) == len(store.versions("m"))


@pytest.mark.parametrize("wait", ["1h", None])
def test_until_then_a_deletion_can_be_taken_back(model, data, store, wait):
    fit(model, data, keeping(store, kept.Keep(last=1), gc=wait), epochs=3)
    assert manifests(store) == 3
    assert store.undelete("m:v0").index == 0
    store["m:v0"].load_model()


def test_what_a_person_or_another_run_has_deleted_is_not_freed(model, data, store):
    for name in ("m", "other"):
        fit(model, data, kept.ModelCheckpoint("m.keras", monitor="loss", store=store, name=name),
            epochs=2)  # fmt: skip
        store.delete(f"{name}:v0", force=True)
    fit(model, data, keeping(store, kept.Keep(last=1), gc=0), epochs=3)
    for name in ("m", "other"):
        assert store.undelete(f"{name}:v0").index == 0
    assert store.verify().problems == []


def test_what_the_last_confirmation_of_a_mirror_allows_goes_at_the_end(
    model, data, store, tmp_path
):
    mirror = tmp_path / "mirror"
    fit(model, data, keeping(store, kept.Keep(last=1), gc=0, mirror=mirror), epochs=4)
    left = {v.index for v in store.versions("m")}
    assert left == {3, store["m:best"].index}
    assert manifests(store) == len(left)


def test_versions_from_before_there_was_a_mirror_reach_it_before_they_go(
    model, data, s3, tmp_path, monkeypatch
):
    monkeypatch.setenv("KEPT_OUTBOX", str(tmp_path / "outbox"))
    fit(model, data, kept.ModelCheckpoint("m.keras", monitor="loss", store=s3, name="m"), epochs=3)
    mirror = kept.open_store(tmp_path / "mirror")
    fit(model, data, keeping(s3, kept.Keep(last=1), mirror=mirror))
    assert len(kept.open_store(s3).versions("m")) < 4
    assert manifests(mirror) == 4


def test_what_no_retention_may_take_stays(model, data, store):
    """A pinned version, the best, another artifact, and what a mirror has not confirmed."""
    fit(model, data, kept.ModelCheckpoint("m.keras", monitor="loss", store=store, name="other"))
    fit(
        model,
        data,
        kept.ModelCheckpoint("m.keras", monitor="loss", store=store, name="m"),
        epochs=3,
    )
    store.set_alias("m:v1", "pinned")
    fit(model, data, keeping(store, kept.Keep(last=1), gc=0))
    assert {v.index for v in store.versions("m")} == {1, 3, store["m:best"].index}
    Receipts(store.bucket, "s3://b/p").register("m")
    fit(model, data, keeping(store, kept.Keep(last=1), gc=0), epochs=2)
    assert {3, 4, 5} < {v.index for v in store.versions("m")}
    assert len(store.versions("other")) == 1
    assert store.verify().problems == []


def test_the_best_and_the_newest_without_nan_stay(model, store):
    callback = keeping(store, kept.Keep(last=1), gc=0)
    play([callback], [{"loss": v} for v in (0.5, 0.1, 0.7, 0.8, math.nan, math.nan)], model=model)
    assert [v.metadata["epoch"] for v in store.versions("m")] == [1, 3, 5]
    assert manifests(store) == 3
    assert store.verify().problems == []


def test_a_gc_that_fails_ends_no_training_and_is_told_of_once(
    model, data, store, monkeypatch, capsys
):
    def fail(*_):
        raise KeptError("no gc today")

    monkeypatch.setattr(freeing, "collect_ruled_out", fail)
    monkeypatch.setattr(freeing, "_PAUSE", 0.0)
    callback = keeping(store, kept.Keep(last=1), gc=0)
    fit(model, data, callback, epochs=4)
    assert capsys.readouterr().out.count("stay for now: no gc today") == 1
    assert len(callback.versions) == 4


def test_a_gc_that_takes_long_is_told_of_and_given_up(model, data, store, monkeypatch, capsys):
    go, real = threading.Event(), freeing.collect_ruled_out

    def slow(*args):
        assert go.wait(60)
        return real(*args)

    monkeypatch.setattr(freeing, "collect_ruled_out", slow)
    monkeypatch.setattr(freeing, "_NOTICE_AFTER", 0.01)
    monkeypatch.setattr(freeing, "FINISH_SECONDS", 0.4)
    callback = keeping(store, kept.Keep(last=1), gc=0)
    fit(model, data, callback, epochs=4)
    assert "freeing the deleted versions of m for up to 0 s" in capsys.readouterr().out
    assert len(callback.versions) == 4  # no save has waited for it
    assert manifests(store) == 4
    go.set()
    freeing._exit()
    assert manifests(store) < 4


def test_where_no_thread_can_be_had_a_checkpoint_is_committed_all_the_same(
    model, data, store, tmp_path, monkeypatch
):
    """The last one of a process that ends, from Python 3.12 on: it was told not to be saved."""
    real = threading.Thread.start

    def start(self):
        if self.name in ("kept-gc", "kept-courier"):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        real(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    callback = keeping(store, kept.Keep(last=1), gc=0, mirror=tmp_path / "mirror")
    fit(model, data, callback, epochs=2)
    assert len(callback.versions) == 2


def test_a_full_disk_gets_room_at_once_from_what_keep_has_deleted(model, data, store, monkeypatch):
    """The disk is full as long as there are more than three manifests."""
    real = LocalBucket.put_many

    def put_many(self, items, transfer=None):
        if manifests(store) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, items, transfer)

    monkeypatch.setattr(LocalBucket, "put_many", put_many)
    callback = keeping(store, kept.Keep(last=1))
    fit(model, data, callback, epochs=8)
    assert len(callback.versions) == 8
    assert manifests(store) <= 4
    with pytest.raises(SaveFailed, match="No space left"):
        fit(model, data, keeping(store, kept.Keep(last=1), gc=None), epochs=8)
    assert store.verify().problems == []


def test_so_does_the_file_at_the_path(model, data, store, monkeypatch):
    """The version has taken the last room: the file went without what keep= had deleted."""
    real = write_checkpoint.publish

    def publish(*args):
        if manifests(store) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*args)

    monkeypatch.setattr(write_checkpoint, "publish", publish)
    callback = keeping(store, kept.Keep(last=1))
    fit(model, data, callback, epochs=8)
    assert len(callback.versions) == 8
    assert manifests(store) <= 4
    last = keeping(store, kept.Keep(last=1), gc=None)
    with pytest.raises(SaveFailed, match=r"committed, but m\.keras could not be saved"):
        fit(model, data, last, epochs=8)
    assert last._controller.saver.writer.is_done(60)  # before the folder is another one again


@pytest.fixture
def full_disk(monkeypatch):
    """A disk that is full while the list holds something."""
    full, real = [], LocalBucket.put_many

    def put_many(self, items, transfer=None):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, items, transfer)

    monkeypatch.setattr(LocalBucket, "put_many", put_many)
    return full


@pytest.mark.parametrize("background", [True, False])
def test_a_full_disk_with_warn(model, data, store, full_disk, background):
    checkpoint = kept.ModelCheckpoint(
        "{epoch}.keras", monitor="loss", name="m", store=store, on_error="warn",
        background=background, keep_local=False,
    )  # fmt: skip
    model.fit(*data, epochs=1, verbose=0, callbacks=[checkpoint])
    full_disk.append("full")
    with pytest.warns(
        UserWarning, match=r"without it: .*No space left on device. Free some space: `kept gc"
    ):
        model.fit(*data, epochs=2, verbose=0, callbacks=[checkpoint])
    assert len(store.versions("m")) == 1
    assert store.verify().problems == []
    assert os.path.exists("1.keras")  # not in the store, so the file stays
    full_disk.clear()
    model.fit(*data, epochs=1, verbose=0, callbacks=[checkpoint])
    assert len(store.versions("m")) == 2
    store.version("m").load_model()


def test_a_full_disk_ends_the_training_otherwise(model, data, store, full_disk):
    full_disk.append("full")
    checkpoint = kept.ModelCheckpoint("m.keras", monitor="loss", name="m", store=store)
    with pytest.raises(SaveFailed, match="No space left on device"):
        model.fit(*data, epochs=3, verbose=0, callbacks=[checkpoint])


@pytest.mark.parametrize(
    ("option", "value"),
    [("keep", 3), ("on_error", "ignore")],
)
def test_bad_options(option, value):
    with pytest.raises(InvalidCheckpoint, match=f"Received: {option}={value!r}"):
        kept.ModelCheckpoint("m.keras", **{option: value})


def test_a_bad_time_for_gc():
    with pytest.raises(InvalidInput, match=r"gc is a time.*Received: 'never'"):
        kept.ModelCheckpoint("m.keras", gc="never")


def test_what_w_and_b_refers_to_is_not_freed_by_itself():
    with pytest.raises(InvalidCheckpoint, match="Pass gc=None, and run `kept gc` when W&B"):
        kept.WandbModelCheckpoint("m.keras", reference=True, keep=kept.Keep(last=1))

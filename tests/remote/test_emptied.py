"""A place that is emptied, replaced or restored while it is in use: nothing is lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import time

import keras
import pytest
from click.testing import CliRunner

import kept
from kept.bucket.object_storage.bucket import ObjectBucket
from kept.cli.main import cli
from kept.errors import StoreReplaced
from kept.store.log.records import Records
from kept.store.open import open_bucket
from kept.store.receipts import Receipts, mirrored_up_to
from kept.sync import courier
from kept.sync.mirror.mirrors import Mirror
from kept.sync.outbox.deliver import Delivery
from kept.sync.outbox.outbox import Outbox
from tests.helpers import write
from tests.training.conftest import _own_folder, data, model, rewind

__all__ = ["_own_folder", "data", "model", "rewind"]  # fixtures


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path):
    """The location of a new, empty place for a store."""
    return str(tmp_path / "place") if request.param == "folder" else request.getfixturevalue("s3")


@pytest.fixture
def shown(monkeypatch):
    from kept import messages

    texts: list[str] = []
    monkeypatch.setattr(messages, "print_text", texts.append)
    monkeypatch.setattr(courier, "NOTICE_SECONDS", 60)
    return texts


@pytest.fixture
def source(tmp_path):
    return kept.open_store(tmp_path / "source")


def log(store, tmp_path, n, name="m"):
    path = write(tmp_path / "in" / "model", os.urandom(100_000) + b"%d" % n)
    return store.log_artifact(name, path, aliases=["best"], metadata={"n": n})


def values(location):
    bucket = open_bucket(location)
    return {key: bytes(bucket.get(key)) for key in bucket.keys("")}


def empty(location):
    """Remove all objects, as `aws s3 rm --recursive` or a lifecycle rule does."""
    if "://" not in location:
        shutil.rmtree(location)
        return
    bucket = ObjectBucket(location)
    for key in list(bucket.keys("")):
        bucket.delete(key)


def restore(location, copy):
    """Make a place what it was when the copy was made."""
    bucket = open_bucket(location)
    for key in set(bucket.keys("")) - set(copy):
        bucket.delete(key)
    for key, value in copy.items():
        bucket.put(key, [value])


def replace(location, tmp_path):
    """Put another store there, with an artifact of the same name and as many records."""
    empty(location)
    other = kept.open_store(location)
    for n in range(4):
        log(other, tmp_path, 100 + n)


def assert_equal(source, location, tmp_path):
    """Check that a mirror has every version, byte by byte."""
    target = kept.open_store(location)
    assert target.verify().problems == []
    assert [a.name for a in target.artifacts()] == [a.name for a in source.artifacts()]
    for artifact in source.artifacts():
        own, copied = source.versions(artifact.name), target.versions(artifact.name)
        assert [(v.index, v.aliases) for v in own] == [(v.index, v.aliases) for v in copied]
        for one, other in zip(own, copied, strict=True):
            paths = [v.download(tmp_path / f"out-{v.store is source}-{v}") for v in (one, other)]
            first, second = ((path / "model").read_bytes() for path in paths)
            assert first == second


HARMS = {
    "emptied": lambda place, copy, tmp_path: empty(place),
    "restored": lambda place, copy, tmp_path: restore(place, copy),
    "replaced": lambda place, copy, tmp_path: replace(place, tmp_path),
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", ["m", "another"])
def test_a_store_gets_nothing_more_until_it_is_opened_again(place, tmp_path, harm, name):
    store = kept.open_store(place)
    log(store, tmp_path, 0)
    copy = values(place)
    for n in (1, 2, 3):
        log(store, tmp_path, n)
    HARMS[harm](place, copy, tmp_path)
    if (harm, name) == ("restored", "another"):
        log(store, tmp_path, 9, name)  # the same store: an artifact that it never had is new
        return
    before = values(place)
    with pytest.raises(StoreReplaced, match="Nothing is written there"):
        log(store, tmp_path, 9, name)
    versions = {key for key in values(place) if key.startswith("artifacts/")}
    assert versions == {key for key in before if key.startswith("artifacts/")}
    log(kept.open_store(place), tmp_path, 9)
    assert kept.open_store(place).verify().problems == []


def test_content_that_the_store_has_lost_is_not_committed_without_a_look(place, tmp_path):
    store = kept.open_store(place)
    path = write(tmp_path / "model", b"same")
    store.log_artifact("m", path)
    empty(place)
    with pytest.raises(StoreReplaced, match="was emptied"):
        store.log_artifact("m", path)


def test_a_long_log_whose_newest_record_is_in_a_page(place, tmp_path):
    store = kept.open_store(place)
    log(store, tmp_path, 0)
    for _ in range(63):
        store.set_alias("m:v0", "best")
    assert store.log("m").view().tail == ()
    empty(place)
    with pytest.raises(StoreReplaced, match="was emptied"):
        log(store, tmp_path, 1)


def test_emptied_while_a_version_is_written(s3, tmp_path, monkeypatch):
    """What the writer stores before it notices does not make the place useless."""
    store = kept.open_store(s3)
    log(store, tmp_path, 0)
    put_many = ObjectBucket.put_many

    def emptied(self, *args):
        empty(s3)
        put_many(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectBucket, "put_many", emptied)
        with pytest.raises(StoreReplaced, match="was emptied"):
            log(store, tmp_path, 1)
    assert any(key.startswith("blobs/") for key in values(s3))
    again = kept.open_store(s3)
    assert not again.exists
    log(again, tmp_path, 1)
    assert again.verify().problems == []


@pytest.mark.parametrize("is_own", [True, False])
def test_emptied_between_the_last_look_and_the_record(s3, tmp_path, monkeypatch, is_own):
    """The record is all that is left then: it must not hide that the rest is gone."""
    store, create = kept.open_store(s3), Records.create
    for n in range(3):
        log(store, tmp_path, n)
    adding = Delivery(store, Outbox(tmp_path / "outbox"))
    file = write(tmp_path / "model", b"last")
    adding.add("m", {"model": str(file)}, {"type": "model", "aliases": [], "metadata": {}})

    def emptied(self, event):
        empty(s3)
        return create(self, event)

    delivery = adding if is_own else Delivery(store, adding.outbox)
    with monkeypatch.context() as patch:
        patch.setattr(Records, "create", emptied)
        with pytest.raises(StoreReplaced, match="Nothing is written there"):
            delivery.send()
    assert len(delivery.left()) == 1
    with pytest.raises(StoreReplaced, match="Nothing is written there"):
        log(store, tmp_path, 9)


def test_the_outbox_keeps_what_an_emptied_store_does_not_get(place, tmp_path):
    store = kept.open_store(place)
    delivery = Delivery(store, Outbox(tmp_path / "outbox"))
    sent = []
    for n in range(5):
        file = write(tmp_path / f"model{n}", os.urandom(1000))
        sent.append(file.read_bytes())
        info = {"type": "model", "aliases": ["best"], "metadata": {}}
        delivery.add("m", {"model": str(file)}, info)
        file.unlink()
        if n == 2:
            empty(place)
        with contextlib.nullcontext() if n < 2 else pytest.raises(StoreReplaced):
            delivery.send()
    assert len(delivery.left()) == 3
    result = CliRunner().invoke(cli, ["sync", "--outbox", str(tmp_path / "outbox")])
    assert result.exit_code == 0, result.output
    store = kept.open_store(place)
    assert store.verify().problems == []
    for version, value in zip(store.versions("m"), sent[2:], strict=True):
        assert (version.download(tmp_path / str(version)) / "model").read_bytes() == value


@pytest.mark.parametrize("harm", HARMS)
def test_a_mirror(source, place, tmp_path, shown, harm):
    log(source, tmp_path, 0, "other")
    mirror = Mirror(source, place)
    copy = {}
    for name in ("other", "m"):
        mirror.begin(name)
    for n in range(8):
        log(source, tmp_path, n)
        mirror.courier.wake("m")
        mirror.courier.wait(60)
        if n == 0:
            copy = values(place)
        if n == 3:
            assert mirrored_up_to(source.bucket, "m") == 3
            HARMS[harm](place, copy, tmp_path)
        if n >= 4:
            assert (
                mirrored_up_to(source.bucket, "m") == mirrored_up_to(source.bucket, "other") == -1
            )
    assert len(shown) == 1
    assert "training continues, and every version is safe" in shown[0]
    mirror.courier.finish()
    _, last = shown
    assert f"not everything is in the mirror {place}" in last
    assert f"kept sync {source.location} {place}" in last
    listed = CliRunner().invoke(cli, ["--store", source.location, "ls", "m"])
    assert "mirrored" not in listed.output
    if harm == "replaced":
        empty(place)  # another store is no mirror; its user decides what becomes of it
    result = CliRunner().invoke(cli, ["sync", source.location, place])
    assert result.exit_code == 0, result.output
    assert_equal(source, place, tmp_path)
    listed = CliRunner().invoke(cli, ["--store", source.location, "ls", "m"])
    assert "mirrored" in listed.output


def test_a_mirror_that_was_emptied_between_two_runs(source, place, tmp_path, shown):
    for name in ("m", "new"):
        mirror = Mirror(source, place)
        mirror.begin(name)
        log(source, tmp_path, 0, name)
        mirror.courier.wake(name)
        mirror.courier.finish()
        if name == "m":
            empty(place)
    [text] = shown
    assert f"the mirror {place} was emptied since the last run; it is filled again" in text
    assert_equal(source, place, tmp_path)


def test_a_mirror_that_was_restored_between_two_runs(source, place, tmp_path, shown):
    log(source, tmp_path, 0, "m")
    Receipts(source.bucket, place).register("m")
    copy = {}
    for n in (1, 2):
        result = CliRunner().invoke(cli, ["--store", source.location, "sync"])
        assert result.exit_code == 0, result.output
        copy = copy or values(place)
        log(source, tmp_path, n)
    restore(place, copy)
    mirror = Mirror(source, place)
    mirror.begin("m")
    mirror.courier.finish()
    [text] = shown
    assert f"{place} had lost 1 of 2 records; they are copied again" in text
    assert_equal(source, place, tmp_path)


def test_the_start_of_a_run_asks_a_mirror_for_nothing_that_it_has_confirmed(
    source, proxy, s3, tmp_path
):
    for name in "abcd":
        log(source, tmp_path, 0, name)
        Receipts(source.bucket, s3).register(name)
    CliRunner().invoke(cli, ["--store", source.location, "sync"])
    mirror = Mirror(source, s3)
    with proxy.counted() as made:
        mirror.begin("new")
        mirror.courier.finish()
    assert made == []


@pytest.mark.parametrize("harm", [b"?", b"[]", None])
def test_a_mirror_whose_receipt_is_damaged_is_not_forgotten(source, place, tmp_path, harm):
    log(source, tmp_path, 0)
    Receipts(source.bucket, place).register("m")
    sync = ["--store", source.location, "sync"]
    assert CliRunner().invoke(cli, sync).exit_code == 0
    [key] = source.bucket.keys("outbox/")
    data = source.bucket.get(key)
    log(source, tmp_path, 1)
    source.bucket.put(key, [harm or bytes(data).replace(b'"record":1', b'"record":2')])
    listed = CliRunner().invoke(cli, ["--store", source.location, "ls", "m"])
    assert "mirrored" not in listed.output
    assert "local" in listed.output
    assert mirrored_up_to(source.bucket, "m") == -1
    result = CliRunner().invoke(cli, sync)
    assert "no mirrors" not in result.output
    if harm:
        assert f"Name it once: kept sync {source.location} MIRROR" in result.output
        CliRunner().invoke(cli, ["sync", source.location, place])
    assert f"Damaged: m: {key}" in result.output
    assert mirrored_up_to(source.bucket, "m") == 1
    assert_equal(source, place, tmp_path)


def test_retention_deletes_nothing_on_the_word_of_an_emptied_mirror(source, place, tmp_path, shown):
    mirror = Mirror(source, place)
    mirror.begin("m")
    for n in range(6):
        log(source, tmp_path, n)
        mirror.courier.wake("m")
        mirror.courier.wait(60)
        source.prune("m", kept.Keep(last=2))
        if n == 2:
            empty(place)
    assert [v.index for v in source.versions("m")] == [1, 2, 3, 4, 5]
    assert CliRunner().invoke(cli, ["sync", source.location, place]).exit_code == 0
    assert_equal(source, place, tmp_path)


@pytest.mark.parametrize("harm", HARMS)
def test_retention_asks_a_mirror_that_got_nothing_since(source, place, tmp_path, harm):
    """Between the loss and the next send, the receipts still confirm everything."""
    mirror = Mirror(source, place)
    mirror.begin("m")
    copy = {}
    for n in range(4):
        log(source, tmp_path, n)
        mirror.courier.wake("m")
        mirror.courier.wait(60)
        copy = copy or values(place)
    HARMS[harm](place, copy, tmp_path)
    assert mirrored_up_to(source.bucket, "m") == 3
    found = source.prune("m", kept.Keep(last=1))
    assert all(decision.keep for decision in found)
    assert place in found[0].reasons[0]
    prune = ["--store", source.location, "prune", "m", "--keep-last", "1", "--yes"]
    assert "0 versions of 0 B deleted" in CliRunner().invoke(cli, prune).output
    if harm == "replaced":
        empty(place)
    assert CliRunner().invoke(cli, ["sync", source.location, place]).exit_code == 0
    assert_equal(source, place, tmp_path)
    source.prune("m", kept.Keep(last=1))
    assert [v.index for v in source.versions("m")] == [3]


@pytest.mark.parametrize("harm", ["emptied", "restored"])
def test_a_mirror_that_was_filled_again_gets_what_follows(source, place, tmp_path, shown, harm):
    mirror = Mirror(source, place)
    mirror.begin("m")
    copy = {}
    for n in range(6):
        log(source, tmp_path, n)
        mirror.courier.wake("m")
        mirror.courier.wait(60)
        copy = copy or values(place)
        if n == 1:
            HARMS[harm](place, copy, tmp_path)
        if n == 3:
            assert mirrored_up_to(source.bucket, "m") == -1
            assert CliRunner().invoke(cli, ["sync", source.location, place]).exit_code == 0
        if n > 3:
            assert mirrored_up_to(source.bucket, "m") == n
    mirror.courier.finish()
    assert [text for text in shown if "was filled again; sending continues" in text]
    assert not [text for text in shown if "not everything" in text]
    assert_equal(source, place, tmp_path)


def test_a_mirror_that_is_another_store_than_before_gets_nothing(source, place, tmp_path, shown):
    mirror = Mirror(source, place)
    mirror.begin("m")
    log(source, tmp_path, 0)
    mirror.courier.wake("m")
    mirror.courier.finish()
    empty(place)
    log(kept.open_store(place), tmp_path, 9, "other")
    before = values(place)
    mirror = Mirror(source, place)
    mirror.begin("m")
    mirror.courier.finish()
    assert "holds another store than before: expected the id" in shown[0]
    assert values(place) == before
    assert mirrored_up_to(source.bucket, "m") == -1


def test_an_alias_set_at_the_mirror_protects_from_the_retention_of_the_source(
    source, place, tmp_path
):
    for n in range(4):
        path = write(tmp_path / "in" / "model", b"%d" % n)
        source.log_artifact("m", path)
    Receipts(source.bucket, place).register("m")
    both_ways = [source.location, place], [place, source.location]
    for way in both_ways:
        assert CliRunner().invoke(cli, ["sync", *way]).exit_code == 0
    kept.open_store(place).set_alias("m:v1", "prod")
    source.prune("m", kept.Keep(last=1))
    assert [v.index for v in source.versions("m")] == [3]
    outputs = [CliRunner().invoke(cli, ["sync", *way]).output for way in both_ways]
    assert f"v1 was deleted in {source.location} and stays in {place}: the alias prod" in outputs[0]
    there = kept.open_store(place)
    assert [(v.index, v.aliases) for v in there.versions("m")] == [
        (1, ("prod",)), (3, ("latest",))
    ]  # fmt: skip
    there.gc(grace="0s")
    assert there.verify().problems == []
    assert (there["m:prod"].download(tmp_path / "out") / "model").read_bytes() == b"1"


class Emptied(keras.callbacks.Callback):
    """Empties the place when it has two versions, and waits until that is noticed."""

    def __init__(self, checkpoint, place):
        super().__init__()
        self._checkpoint, self._place = checkpoint, place

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            until(lambda: len(kept.open_store(self._place).versions("m")) == 2)
            until(lambda: not self.courier.pending)
            empty(self._place)
        if epoch == 2:
            until(lambda: self.courier.fails)

    @property
    def courier(self):
        destination = self._checkpoint._controller.parts.destination
        mirrors = destination._mirrors._all
        return mirrors[0].courier if mirrors else destination._courier


def until(is_so):
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(kept.errors.NotFound):
            if is_so():
                return
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("way", ["store", "mirror"])
def test_a_fit_whose_bucket_is_emptied(way, model, data, s3, capsys):
    checkpoint = kept.ModelCheckpoint(
        "{epoch}.keras", monitor="loss", name="m", keep_local=kept.Keep(last=1), **{way: s3}
    )
    epochs = 5
    model.fit(*data, epochs=epochs, verbose=0, callbacks=[checkpoint, Emptied(checkpoint, s3)])
    lines = capsys.readouterr().out.splitlines()
    told = [line for line in lines if "was emptied" in line]
    assert len(told) == 2, lines
    assert "training continues" in told[0]
    assert "not everything is in" in told[1]
    assert all("kept sync" in line for line in told)
    assert not [line for line in lines if "could not" in line], lines
    if way == "store":
        result = CliRunner().invoke(cli, ["sync"])
    else:
        location = checkpoint.store.location
        listed = CliRunner().invoke(cli, ["--store", location, "ls", "m"])
        assert "mirrored" not in listed.output
        result = CliRunner().invoke(cli, ["sync", location, s3])
    assert result.exit_code == 0, result.output
    there = kept.open_store(s3)
    assert there.verify().problems == []
    assert [v.metadata["epoch"] for v in there.versions("m")] == (
        [2, 3, 4] if way == "store" else [0, 1, 2, 3, 4]
    )
    if way == "mirror":
        for one, other in zip(checkpoint.store.versions("m"), there.versions("m"), strict=True):
            assert one.digest == other.digest

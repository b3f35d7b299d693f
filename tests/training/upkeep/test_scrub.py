"""scrub=: what new versions build upon is read again, and what is damaged is stored again."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import kept
from kept.errors import Damaged, InvalidCheckpoint
from kept.training.upkeep import scrub
from tests.training import helpers
from tests.training.helpers import PATIENCE, keras

pytestmark = pytest.mark.any_framework


@pytest.fixture(scope="module")
def model():
    """A frozen base of 1.4 MB, and a small head that is trained."""
    keras.utils.set_random_seed(1)
    base = keras.layers.Dense(600, trainable=False, name="base")
    found = keras.Sequential([keras.Input((600,)), base, keras.layers.Dense(1, name="head")])
    found.compile(optimizer="sgd", loss="mse")
    return found


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(32, 600)).astype("float32"), rng.normal(size=(32, 1))


def callback(store, **options):
    given = {"monitor": "loss", "name": "m", "store": store, "scrub": True} | options
    return kept.ModelCheckpoint("files/{epoch}.keras", **given)


def fit(model, data, checkpoint, epochs):
    """Fit; after each epoch wait until its version is committed and scrubbed."""

    def wait(epoch, logs):
        checkpoint.wait()
        scrubber = checkpoint._controller.parts.upkeep._scrub
        assert scrubber is None or scrubber.wait(PATIENCE)

    after = keras.callbacks.LambdaCallback(on_epoch_end=wait)
    helpers.fit(model, data, checkpoint, after, epochs=epochs)
    checkpoint.close()


def base_of(store):
    """The path of the blob that holds the frozen base."""
    [name] = {c.blob for c in store.version("m").manifest.chunks() if c.size == 600 * 600 * 4}
    return Path(store.location, "blobs", name[:2], name)


def flip(path):
    data = bytearray(path.read_bytes())
    data[1000] ^= 4
    path.write_bytes(data)


def is_whole(version):
    try:
        return version.verify().ok
    except Damaged:
        return False


def test_a_flipped_bit_in_a_frozen_base(model, data, store, capsys):
    fit(model, data, callback(store), epochs=1)
    path = base_of(store)
    sound = path.read_bytes()
    flip(path)
    damaged = path.read_bytes()
    assert not is_whole(store["m:v0"])
    fit(model, data, callback(store), epochs=3)
    assert [version.index for version in store.versions("m")] == [0, 1, 2, 3]
    assert [is_whole(version) for version in store.versions("m")] == [True] * 4
    assert path.read_bytes() == sound
    key = f"blobs/{path.parent.name}/{path.name}"
    assert Path(store.location, "damaged", key).read_bytes() == damaged
    out = capsys.readouterr().out
    assert (
        f"{key} is damaged, and lies in damaged/{key} now. The next save that has its bytes "
        "stores it again. Until then these versions cannot be read: m:v1, m:v0"
    ) in out.replace("\n", " ")
    assert out.count(f"{key} is stored again") == 1
    assert out.count("cannot be read") == 1
    helpers.assert_same_state(model, store.version("m").load_model())


def test_without_it_all_further_versions_are_damaged(model, data, store):
    fit(model, data, callback(store, scrub=False), epochs=1)
    flip(base_of(store))
    fit(model, data, callback(store, scrub=False), epochs=2)
    assert not any(is_whole(version) for version in store.versions("m"))


def test_a_base_that_another_artifact_has_stored(model, data, store):
    """The first version of a new artifact reuses it by its name."""
    fit(model, data, callback(store, name="other"), epochs=1)
    [name] = {c.blob for c in store.version("other").manifest.chunks() if c.size == 600 * 600 * 4}
    flip(Path(store.location, "blobs", name[:2], name))
    fit(model, data, callback(store), epochs=2)
    assert store.verify().ok


def test_object_storage(model, data, s3):
    """A commit there believes the newest manifest, except for blobs that are marked."""
    helpers.fit(model, data, callback(s3), epochs=1)
    store = kept.open_store(s3)
    [name] = {c.blob for c in store.version("m").manifest.chunks() if c.size == 600 * 600 * 4}
    key = f"blobs/{name[:2]}/{name}"
    damaged = bytearray(store.bucket.get(key))
    damaged[1000] ^= 4
    store.bucket.put(key, [bytes(damaged)])
    checkpoint = callback(s3)

    def wait(epoch, logs):
        limit = time.monotonic() + PATIENCE
        while len(checkpoint.versions) <= epoch and time.monotonic() < limit:
            time.sleep(0.01)
        assert checkpoint._controller.parts.upkeep._scrub.wait(PATIENCE)

    after = keras.callbacks.LambdaCallback(on_epoch_end=wait)
    helpers.fit(model, data, checkpoint, after, epochs=3)
    checkpoint.close()
    assert len(store.versions("m")) == 4
    assert store.verify().ok
    assert bytes(store.bucket.get(f"damaged/{key}")) == bytes(damaged)


def test_a_base_that_is_missing(model, data, store, capsys):
    """A commit asks whether it exists, so it is gone only for the moment between two saves."""
    fit(model, data, callback(store), epochs=1)
    path = base_of(store)
    checkpoint = callback(store)
    scrubber = checkpoint  # named for the hook below

    def remove(epoch, logs):
        scrubber.wait()
        upkeep = scrubber._controller.parts.upkeep
        assert upkeep._scrub.wait(PATIENCE)
        if epoch == 0:
            path.unlink()
            upkeep._scrub.begin()  # as a new fit: read all again
            upkeep._scrub.committed(store.version("m"), frozenset())
            assert upkeep._scrub.wait(PATIENCE)

    after = keras.callbacks.LambdaCallback(on_epoch_end=remove)
    helpers.fit(model, data, checkpoint, after, epochs=2)
    checkpoint.close()
    assert store.verify().ok
    out = capsys.readouterr().out
    assert f"{path.name} is missing. The next save" in out.replace("\n", " ")
    assert f"{path.name} is stored again" in out


def test_damage_that_no_save_can_mend_is_reported_once(store, capsys):
    """The base is in older versions only: a version is looked at again, and nothing has changed."""
    version = store.log_artifact("m", kept.MemoryFile("base", [os.urandom(2_000_000)]))
    [chunk] = version.manifest.chunks()
    flip(Path(store.location, "blobs", chunk.blob[:2], chunk.blob))
    scrubber = scrub.BackgroundScrub(1.0)
    for _ in range(3):
        scrubber.committed(version, frozenset())
        assert scrubber.wait(PATIENCE)
    assert capsys.readouterr().out.count("cannot be read") == 1


def test_each_blob_is_read_once_in_a_fit(model, data, store, monkeypatch):
    fit(model, data, callback(store), epochs=1)
    reads, real = [], scrub.read_all

    def noted(bucket, needs, blobs):
        blobs = list(blobs)
        reads.append(blobs)
        return real(bucket, needs, blobs)

    monkeypatch.setattr(scrub, "read_all", noted)
    fit(model, data, callback(store), epochs=3)
    assert [base_of(store).name in blobs for blobs in reads] == [True, False, False]
    written = {c.blob for v in store.versions("m")[1:] for c in v.manifest.chunks()}
    old = {c.blob for c in store["m:v0"].manifest.chunks()}
    assert set().union(*reads) <= old
    assert written - old  # the head is new each time, and not read


def test_training_does_not_wait_for_it(model, data, store, monkeypatch):
    """The reading hangs, as a disk may, until the fit has saved all its epochs."""
    fit(model, data, callback(store), epochs=1)
    go, real = threading.Event(), scrub.read_all

    def hanging(*args):
        go.wait(PATIENCE)
        return real(*args)

    monkeypatch.setattr(scrub, "read_all", hanging)
    checkpoint = callback(store)
    saved = []

    def note(epoch, logs):
        checkpoint.wait()
        saved.append(len(store.versions("m")))
        if epoch == 2:
            go.set()

    after = keras.callbacks.LambdaCallback(on_epoch_end=note)
    helpers.fit(model, data, checkpoint, after, epochs=3)
    checkpoint.close()
    assert saved == [2, 3, 4]


def test_it_pauses_during_saves():
    scrubber = scrub.BackgroundScrub(1.0)
    scrubber.save_begins()
    done = threading.Event()

    def work():
        scrubber._may_continue(0.0)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert not done.wait(0.2)
    scrubber.save_ends()
    assert done.wait(PATIENCE)
    thread.join()


def test_what_it_may_not_read_stays(model, data, store, monkeypatch, capsys):
    """The store of a group, in which another user's files are private: nothing is damaged."""
    from kept.bucket import local_read

    fit(model, data, callback(store), epochs=1)
    path, real = base_of(store), os.open
    monkeypatch.setattr(
        local_read.os, "open",
        lambda name, *a, **k: _refuse(name) if str(name) == str(path) else real(name, *a, **k),
    )  # fmt: skip
    fit(model, data, callback(store), epochs=2)
    monkeypatch.undo()
    assert path.exists()
    assert not Path(store.location, "damaged").exists()
    assert store.verify().ok
    assert "could not be read again" in capsys.readouterr().out.replace("\n", " ")


def _refuse(name):
    raise PermissionError(13, "Permission denied", name)


@pytest.mark.parametrize("wrong", [0, 1.5, -1, "all", "0%", None, [1]])
def test_a_share_that_is_not_valid(store, wrong):
    with pytest.raises(InvalidCheckpoint, match="scrub is True, False, or a share"):
        callback(store, scrub=wrong)


def test_a_share(model, data, store):
    fit(model, data, callback(store, scrub="50%"), epochs=2)
    fit(model, data, callback(store, scrub=0.5), epochs=2)
    assert store.verify().ok

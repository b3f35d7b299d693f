"""keep, keep_local and on_error: what stays, and what a full disk does."""

from __future__ import annotations

import errno
import os

import pytest

import kept
from kept.bucket.local import LocalBucket
from kept.errors import InvalidCheckpoint, SaveFailed


def test_versions_that_no_rule_keeps_go_after_each_commit(model, data, store):
    checkpoint = kept.ModelCheckpoint(
        "{epoch}.keras", monitor="loss", name="m", store=store, keep=kept.Keep(last=2)
    )
    model.fit(*data, epochs=5, verbose=0, callbacks=[checkpoint])
    left = {version.index for version in store.versions("m")}
    assert left == {3, 4, store["m:best"].index}
    assert len(checkpoint.versions) == 5
    store["m"].load_model()
    # A second run goes on with what the log says.
    again = kept.ModelCheckpoint(
        "{epoch}.keras", monitor="loss", name="m", store=store, keep=kept.Keep(last=1)
    )
    model.fit(*data, epochs=1, verbose=0, callbacks=[again])
    assert {v.index for v in store.versions("m")} == {5, store["m:best"].index}


def test_without_local_files(model, data, store):
    checkpoint = kept.ModelCheckpoint(
        "files/{epoch}.keras", monitor="loss", name="m", store=store, keep_local=False
    )
    model.fit(*data, epochs=2, verbose=0, callbacks=[checkpoint])
    assert os.listdir("files") == []
    assert len(store.versions("m")) == 2
    store["m"].load_model()


@pytest.fixture
def full_disk(monkeypatch):
    """A disk that is full while the list holds something."""
    full, real = [], LocalBucket.put_many

    def put_many(self, items):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, items)

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
    store["m"].load_model()


def test_a_full_disk_ends_the_training_otherwise(model, data, store, full_disk):
    full_disk.append("full")
    checkpoint = kept.ModelCheckpoint("m.keras", monitor="loss", name="m", store=store)
    with pytest.raises(SaveFailed, match="No space left on device"):
        model.fit(*data, epochs=3, verbose=0, callbacks=[checkpoint])


@pytest.mark.parametrize(
    ("option", "value"), [("keep", 3), ("keep_local", "no"), ("on_error", "ignore")]
)
def test_bad_options(option, value):
    with pytest.raises(InvalidCheckpoint, match=f"Received: {option}={value!r}"):
        kept.ModelCheckpoint("m.keras", **{option: value})

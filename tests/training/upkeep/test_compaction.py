"""compression=: versions take less room, beside the training and after it, and stay the same."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import kept
from kept.errors import InvalidCheckpoint
from kept.store.blobs.blob import RAW, read_head
from kept.store.compact.worker import FINISH, GO, PAUSE
from kept.training.upkeep import compaction
from tests.helpers import write
from tests.training import helpers
from tests.training.helpers import PATIENCE

pytestmark = pytest.mark.any_framework


@pytest.fixture(scope="module")
def wide():
    return helpers.compiled_wide()


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(32, 200)).astype("float32"), rng.normal(size=(32, 200))


def heads(store):
    names = {chunk.blob for v in store.versions("m") for chunk in v.manifest.chunks()}
    return [read_head(store.bucket, name) for name in names]


def coded(store):
    return sum(head.codec != RAW for head in heads(store))


def callback(store, **options):
    given = {"monitor": "loss", "name": "m", "store": store} | options
    return kept.ModelCheckpoint("files/{epoch}.keras", **given)


def check_versions(store, tmp_path):
    """Every version is bit by bit the file that Keras would have written."""
    assert store.verify().ok
    for version in store.versions("m"):
        file = Path("files", f"{version.metadata['epoch'] + 1}.keras")
        assert helpers.content_of(version, tmp_path / "out") == helpers.content(file)


def test_max_has_coded_everything_when_fit_returns(wide, data, store, tmp_path):
    checkpoint = callback(store, compression="max")
    helpers.fit(wide, data, checkpoint, epochs=4)
    found = heads(store)
    assert all(head.codec != RAW for head in found if head.raw_size > 100_000)
    assert any(head.base for head in found)
    check_versions(store, tmp_path)
    helpers.assert_same_state(wide, store.version("m").load_model())
    assert store.compact().blobs <= 1


def test_the_next_fit_goes_on(wide, data, store, tmp_path):
    checkpoint = callback(store, compression="max")
    helpers.fit(wide, data, checkpoint, epochs=2)
    before = coded(store)
    helpers.fit(wide, data, checkpoint, epochs=4, initial_epoch=2)
    assert coded(store) > before
    check_versions(store, tmp_path)
    checkpoint.close()


def test_nothing_is_started_unasked(wide, data, store, monkeypatch):
    monkeypatch.setattr(compaction, "LEAST", 1)
    helpers.fit(wide, data, callback(store), epochs=2)
    assert coded(store) == 0


def test_nothing_is_started_where_it_is_not_worth_a_process(wide, data, store):
    helpers.fit(wide, data, callback(store, compression="auto"), epochs=2)
    assert coded(store) == 0
    assert sum(v.metadata["bytes_new"] for v in store.versions("m")) < compaction.LEAST


def test_auto_works_beside_the_training(wide, data, store, tmp_path, monkeypatch):
    """The training goes on until something is coded; nobody asks for it."""
    monkeypatch.setattr(compaction, "LEAST", 1)
    checkpoint = callback(store, compression="auto")
    limit = time.monotonic() + PATIENCE

    def wait_for_it(epoch, logs):
        checkpoint.wait()
        while epoch == 1 and not coded(store) and time.monotonic() < limit:
            time.sleep(0.01)

    after = helpers.keras.callbacks.LambdaCallback(on_epoch_end=wait_for_it)
    helpers.fit(wide, data, checkpoint, after, epochs=3)
    assert coded(store)
    check_versions(store, tmp_path)


def test_it_pauses_from_the_hook_until_the_file_is_published(wide, data, store, monkeypatch):
    monkeypatch.setattr(compaction, "LEAST", 1)
    orders = []
    real = compaction.BackgroundCompactor._order

    def noted(self, order):
        if self._process is not None:
            orders.append((order, sorted(os.listdir("files"))))
        real(self, order)

    monkeypatch.setattr(compaction.BackgroundCompactor, "_order", noted)
    helpers.fit(wide, data, callback(store, compression="auto"), epochs=3)
    assert orders[0][0] == PAUSE  # it was started in the middle of the first save
    assert [order for order, _ in orders[-2:]] == [GO, FINISH]
    assert orders[-1][1] == ["1.keras", "2.keras", "3.keras"]
    for order, files in orders:
        if order == GO:  # no file is half there
            assert not any(name.startswith(".kept-") for name in files)


def test_two_saves_pause_it_until_both_are_written(store):
    orders = []
    own = compaction.BackgroundCompactor("max")
    own._order = orders.append
    own.save_begins()
    own.save_begins()
    own.save_ends()
    assert GO not in orders
    own.save_ends()
    assert orders == [PAUSE, PAUSE, GO]


def test_readers_gc_and_a_mirror_beside_it(wide, data, store, tmp_path):
    mirror, done, errors = tmp_path / "mirror", threading.Event(), []

    def beside():
        other = kept.open_store(store.location)
        while not done.is_set():
            try:
                other.gc(grace=0)
                if other.artifacts():
                    other.version("m").download(tmp_path / "read")
            except Exception as error:  # noqa: BLE001 - seen below
                errors.append(error)

    thread = threading.Thread(target=beside)
    thread.start()
    try:
        checkpoint = callback(store, compression="max", mirror=mirror)
        helpers.fit(wide, data, checkpoint, epochs=4)
    finally:
        done.set()
        thread.join()
    assert errors == []
    store.gc(grace=0)
    check_versions(store, tmp_path)
    assert kept.open_store(mirror).verify().ok
    assert [v.digest for v in kept.open_store(mirror).versions("m")] == [
        v.digest for v in store.versions("m")
    ]


def test_killed_while_it_works_the_run_goes_on(wide, data, store, tmp_path):
    checkpoint = callback(store, compression="max", verbose=1)

    def kill(epoch, logs):
        if epoch == 1:
            checkpoint.wait()
            process = checkpoint._controller.parts.upkeep._compactor._process
            process.kill()
            process.wait(PATIENCE)

    after = helpers.keras.callbacks.LambdaCallback(on_epoch_end=kill)
    helpers.fit(wide, data, checkpoint, after, epochs=4)
    assert len(store.versions("m")) == 4
    check_versions(store, tmp_path)


def test_what_goes_wrong_there_is_told_and_stops_nothing(wide, data, store, capfd, monkeypatch):
    monkeypatch.setattr(compaction.sys, "executable", "/nonexistent/python")
    helpers.fit(wide, data, callback(store, compression="max"), epochs=2)
    assert len(store.versions("m")) == 2
    assert "versions keep their size until you run kept compact" in capfd.readouterr().out


def test_what_others_print_into_its_last_words_ends_no_fit(
    wide, data, store, tmp_path, monkeypatch
):
    write(tmp_path / "site" / "sitecustomize.py", b"print('a cluster says hello')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    helpers.fit(wide, data, callback(store, compression="max"), epochs=2)
    assert coded(store)


def test_no_process_stays_when_a_fit_breaks_off(wide, data, store):
    checkpoint = callback(store, compression="max", save_freq=1)
    checkpoint.filepath = "files/m.keras"
    with pytest.raises(helpers.Stopped):
        helpers.fit(wide, data, checkpoint, helpers.Stop(after=3), epochs=2)
    checkpoint.wait()
    process = checkpoint._controller.parts.upkeep._compactor._process
    assert process.poll() is None
    checkpoint.close()
    assert process.poll() is not None


@pytest.mark.parametrize("value", [True, "zstd", None, 3])
def test_bad_values(value, store):
    with pytest.raises(InvalidCheckpoint, match=r"'none', 'auto' or 'max'. Received: compression="):
        callback(store, compression=value)


def test_max_needs_a_folder():
    with pytest.raises(InvalidCheckpoint, match=r"needs a store in a folder.*'memory:"):
        callback("memory:", compression="max")
    callback("memory:", compression="auto")

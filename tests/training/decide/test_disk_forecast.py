"""Before a fit: is there room for what it will save?"""

from __future__ import annotations

import shutil
import warnings
from typing import NamedTuple

import keras
import pytest

import kept
from kept.training.decide import disk_forecast
from tests.training.helpers import fit

SIZE = 1_000


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def free(monkeypatch):
    """Say how many bytes are free, everywhere."""

    def say(count):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, count))

    return say


def checkpoint(store, path="m-{epoch}.keras", **options):
    return kept.ModelCheckpoint(path, monitor="loss", store=store, name="m", **options)


def test_the_size_is_that_of_what_a_checkpoint_holds(model, data, store):
    callback = checkpoint(store)
    fit(model, data, callback)
    held = callback.versions[0].metadata["snapshot_bytes"]
    assert 0.5 * held < disk_forecast.size_of(model) <= held  # a snapshot has metrics and seeds too


def silent(model, data, *callbacks, **options):
    """Train without being warned."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit(model, data, *callbacks, **options)


@pytest.mark.any_framework
def test_a_fit_that_does_not_fit_is_told_of_once_before_its_first_save(free, model, data, store):
    needed = 2 * 4 * disk_forecast.size_of(model)  # versions and files, also at SIGTERM
    free(needed - 1)
    with pytest.warns(UserWarning, match=f"4 checkpoints .* need up to {needed:,} bytes") as told:
        fit(model, data, checkpoint(store), epochs=3)
    assert len([w for w in told if "checkpoints of up to" in str(w.message)]) == 1
    free(needed)
    silent(model, data, checkpoint(store), epochs=3)


@pytest.mark.any_framework
def test_what_needs_less_is_seen_to_need_less(free, model, data, store):
    size = disk_forecast.size_of(model)
    free(10 * size)  # versions and a file of eight epochs
    for options in ({"keep": kept.Keep(last=3)}, {"keep_local": False}, {"path": "m.keras"}):
        path = options.pop("path", "m.keras")
        silent(model, data, checkpoint(store, path, **options), epochs=8)
    with pytest.warns(UserWarning, match="This fit may write up to 9 checkpoints"):
        fit(model, data, checkpoint(store), epochs=8)
    free(9 * size + 3 * size)  # nine versions; two files and the next one
    silent(model, data, checkpoint(store, keep_local=kept.Keep(bytes=2 * size)), epochs=8)
    free(9 * size + 3 * size - 1)
    with pytest.warns(UserWarning, match=f"need up to {12 * size:,} bytes"):
        fit(model, data, checkpoint(store, keep_local=kept.Keep(bytes=2 * size)), epochs=8)


@pytest.mark.any_framework
def test_a_filepath_that_was_set_later_counts(free, model, data, store, tmp_path):
    size = disk_forecast.size_of(model)
    free(4 * size + size)  # versions of three epochs and SIGTERM, one file
    callback = checkpoint(store)
    callback.filepath = "m.keras"
    silent(model, data, callback, epochs=3)
    callback.filepath = tmp_path / "elsewhere" / "m-{epoch}.keras"
    with pytest.warns(UserWarning, match="elsewhere"):
        fit(model, data, callback, epochs=3)


@pytest.mark.any_framework
def test_epochs_that_are_over_bring_nothing(free, model, data, store):
    """With initial_epoch, and in a run that goes on."""
    size = disk_forecast.size_of(model)
    free(3 * size)  # two epochs, and SIGTERM
    options = {"keep_local": False}
    silent(model, data, checkpoint(store, **options), epochs=10, initial_epoch=8)
    silent(model, data, checkpoint(store, **options, resume=True), epochs=12)
    with pytest.warns(UserWarning, match="may write up to 4 checkpoints of up to"):
        fit(model, data, checkpoint(store, **options, resume=True), epochs=15)


@pytest.mark.any_framework
def test_what_is_deleted_takes_room_until_a_gc(free, model, data, store):
    free(7 * disk_forecast.size_of(model))
    options = {"keep": kept.Keep(last=3), "keep_local": False}
    silent(model, data, checkpoint(store, **options), epochs=8)
    with pytest.warns(UserWarning, match="Unless `kept gc` runs beside the training") as told:
        fit(model, data, checkpoint(store, **options, gc=None), epochs=8)
    [text] = [str(w.message) for w in told if "may write" in str(w.message)]
    assert text.endswith('To need less, use gc="1h", a store elsewhere or fewer saves.')


@pytest.mark.any_framework
def test_what_the_clock_brings_is_known_after_an_epoch(free, model, data, store, monkeypatch):
    size, clock = disk_forecast.size_of(model), [0.0]
    monkeypatch.setattr(disk_forecast.time, "monotonic", lambda: clock[0])
    advance = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda *_, **__: clock.__setitem__(0, clock[0] + 10)
    )
    free(5 * size)
    options = {"keep_local": False, "save_every": 3600}
    silent(model, data, checkpoint(store, **options), advance, epochs=3)
    with pytest.warns(UserWarning, match="may write up to 16 checkpoints") as told:
        fit(model, data, checkpoint(store, **options | {"save_every": 10}), advance, epochs=3)
    assert len([w for w in told if "checkpoints of up to" in str(w.message)]) == 1


@pytest.mark.any_framework
def test_the_advice_names_what_is_not_done_already(free, model, data, store):
    free(1)
    found = []
    for callback in (
        checkpoint(store, grace_seconds=None),
        checkpoint(store, keep=kept.Keep(last=3)),
        checkpoint(kept.open_store("memory:")),
    ):
        with pytest.warns(UserWarning, match="checkpoints of up to") as told:
            fit(model, data, callback)
        [text] = [str(w.message) for w in told if "may write" in str(w.message)]
        found.append(text.partition("To need less, use ")[2])
    assert found == [
        "keep=kept.Keep(last=3), keep_local=False, a store elsewhere or fewer saves.",
        "keep_local=False, a store elsewhere or fewer saves.",
        "keep_local=False or fewer saves.",
    ]


@pytest.mark.any_framework
def test_files_on_their_way_to_a_remote_store_take_room(
    free, s3, model, data, tmp_path, monkeypatch
):
    monkeypatch.setenv("KEPT_OUTBOX", str(tmp_path / "outbox"))
    size = disk_forecast.size_of(model)
    free(3 * size)  # of a path without options: the file and two in the outbox
    silent(model, data, checkpoint(s3, "m.keras"), epochs=5)
    free(3 * size - 1)
    with pytest.warns(UserWarning, match=f"need up to {3 * size:,} bytes"):
        fit(model, data, checkpoint(s3, "m.keras"), epochs=5)
    free(6 * size)  # those that stay are links there
    silent(model, data, checkpoint(s3), epochs=5)


@pytest.mark.any_framework
def test_a_store_in_memory_needs_no_disk(free, model, data):
    free(0)
    silent(model, data, checkpoint(kept.open_store("memory:"), keep_local=False), epochs=3)


@pytest.mark.any_framework
@pytest.mark.parametrize(
    ("params", "save_freq", "saves"),
    [
        ({"epochs": 5, "steps": 10}, "epoch", 5),
        ({"epochs": 5, "steps": None}, "epoch", 5),
        ({"epochs": 5, "steps": 10}, 4, 12),
        ({"epochs": 5, "steps": None}, 4, None),
        ({"epochs": None, "steps": 10}, 4, None),
        ({}, "epoch", None),
    ],
)
def test_how_many_saves_a_fit_can_bring(params, save_freq, saves):
    assert disk_forecast.planned_saves(params, save_freq) == saves


@pytest.mark.any_framework
@pytest.mark.parametrize(
    ("keep", "versions"),
    [
        (None, 100),
        (kept.Keep(last=3), 5),
        (kept.Keep(last=3, best=4), 9),
        (kept.Keep(last=200), 100),
        (kept.Keep(last=3, within="7d"), 100),
        (kept.Keep(every="10 epochs"), 100),
        (kept.Keep(bytes=7 * SIZE), 7),
        (kept.Keep(last=3, bytes=4 * SIZE), 4),
    ],
)
def test_what_a_retention_keeps(keep, versions):
    assert disk_forecast.bytes_kept(100, SIZE, keep) == versions * SIZE


@pytest.mark.any_framework
def test_folders_on_one_file_system_share_its_room(free, tmp_path):
    free(2 * SIZE)
    needs = {str(tmp_path / "not" / "there"): SIZE, str(tmp_path): SIZE}
    assert list(disk_forecast.shortages(needs)) == []
    needs[str(tmp_path)] += 1
    [told] = disk_forecast.shortages(needs)
    assert "2,001 bytes" in told
    assert "2,000 are free" in told


@pytest.mark.any_framework
def test_each_file_system_is_told_of_by_itself(tmp_path, monkeypatch):
    room = {str(tmp_path): 2 * SIZE, "/proc": SIZE}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, room[path]))
    assert list(disk_forecast.shortages({str(tmp_path): 2 * SIZE, "/proc": SIZE})) == []
    [told] = disk_forecast.shortages({str(tmp_path): 2 * SIZE, "/proc": SIZE + 1})
    assert told == "They need up to 1,001 bytes in /proc; 1,000 are free."
    assert len(list(disk_forecast.shortages({str(tmp_path): 3 * SIZE, "/proc": 2 * SIZE}))) == 2

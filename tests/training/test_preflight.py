"""Before a fit: is there room for what it will save?"""

from __future__ import annotations

import shutil
import warnings
from typing import NamedTuple

import pytest

import kept
from kept.training import preflight
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
    assert 0.5 * held < preflight.size_of(model) <= held  # a snapshot has metrics and seeds too


def test_a_fit_that_does_not_fit_is_told_of_once_before_its_first_save(free, model, data, store):
    needed = 2 * 3 * preflight.size_of(model)  # versions and files
    free(needed - 1)
    with pytest.warns(UserWarning, match=f"3 checkpoints .* need up to {needed:,} bytes") as told:
        fit(model, data, checkpoint(store), epochs=3)
    assert len([w for w in told if "checkpoints of up to" in str(w.message)]) == 1
    free(needed)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit(model, data, checkpoint(store), epochs=3)


def test_what_needs_less_is_seen_to_need_less(free, model, data, store):
    size = preflight.size_of(model)
    free(10 * size)  # versions and a file of eight epochs
    for options in ({"keep": kept.Keep(last=3)}, {"keep_local": False}, {"path": "m.keras"}):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            path = options.pop("path", "m.keras")
            fit(model, data, checkpoint(store, path, **options), epochs=8)
    with pytest.warns(UserWarning, match="bytes are to come"):
        fit(model, data, checkpoint(store), epochs=8)


def test_what_is_deleted_takes_room_until_a_gc(free, model, data, store):
    free(7 * preflight.size_of(model))
    with pytest.warns(UserWarning, match="Unless `kept gc` runs beside the training"):
        fit(model, data, checkpoint(store, "m.keras", keep=kept.Keep(last=3)), epochs=8)


def test_a_store_in_memory_needs_no_disk(free, model, data):
    free(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit(model, data, checkpoint(kept.open_store("memory:"), keep_local=False), epochs=3)


@pytest.mark.parametrize(
    ("params", "save_freq", "saves"),
    [
        ({"epochs": 5, "steps": 10}, "epoch", 5),
        ({"epochs": 5, "steps": None}, "epoch", 5),
        ({"epochs": 5, "steps": 10}, 4, 12),
        ({"epochs": 5, "steps": None}, 4, None),
        ({}, "epoch", None),
    ],
)
def test_how_many_saves_a_fit_can_bring(params, save_freq, saves):
    assert preflight.planned_saves(params, save_freq) == saves


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
    assert preflight.bytes_kept(100, SIZE, keep) == versions * SIZE


def test_folders_on_one_file_system_share_its_room(free, tmp_path):
    free(2 * SIZE)
    needs = {str(tmp_path / "not" / "there"): SIZE, str(tmp_path): SIZE}
    assert list(preflight.shortages(needs)) == []
    needs[str(tmp_path)] += 1
    [told] = preflight.shortages(needs)
    assert "2,001 bytes" in told
    assert "2,000 are free" in told

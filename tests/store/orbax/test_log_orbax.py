"""Folders of Orbax, as its own programs leave them, become versions; Orbax itself is not needed."""

from __future__ import annotations

import json

import pytest

import kept
from kept.errors import InvalidInput, InvalidPath
from kept.store.orbax.steps import OWN_KEY, find_steps
from tests.helpers import tree


@pytest.fixture
def store():
    return kept.open_store("memory:")


def make_step(folder, name, saved=1, *, metrics=None, noted=None, finished=True):
    step = folder / name
    (step / "default" / "d").mkdir(parents=True)
    (step / "default" / "d" / "0").write_bytes(f"values of {name}, {saved}".encode())
    if finished:
        commit = {"commit_timestamp_nsecs": saved, "custom_metadata": noted or {}}
        (step / "_CHECKPOINT_METADATA").write_text(json.dumps(commit))
        (step / "commit_success.txt").write_text("yes")
    if metrics:
        (step / "metrics").mkdir()
        (step / "metrics" / "metrics").write_text(json.dumps(metrics))


def test_each_step_becomes_a_version_once_and_in_order(store, tmp_path):
    for number in (10, 9, 100):
        make_step(tmp_path, str(number), saved=number)
    new = kept.log_orbax(tmp_path, "m", store)
    assert [v.metadata["orbax"]["step"] for v in new] == [9, 10, 100]
    assert [v.aliases for v in store.versions("m")] == [
        ("step_9",),
        ("step_10",),
        ("latest", "step_100"),
    ]
    assert kept.log_orbax(tmp_path, "m", store) == []
    make_step(tmp_path, "101")
    assert [v.reference for v in kept.log_orbax(tmp_path, "m", store)] == ["m:v3"]


def test_a_step_saved_again_is_another_version(store, tmp_path):
    make_step(tmp_path / "a", "3", saved=1)
    make_step(tmp_path / "b", "3", saved=2)
    for folder in "abab":
        kept.log_orbax(tmp_path / folder, "m", store)
    assert [v.metadata["orbax"]["saved"] for v in store.versions("m")] == [1, 2]


def test_a_deleted_version_does_not_come_back(store, tmp_path):
    for name in "12":
        make_step(tmp_path, name)
    kept.log_orbax(tmp_path, "m", store)
    store.delete("m:v0", force=True)
    assert kept.log_orbax(tmp_path, "m", store) == []


def test_a_version_is_given_back_byte_for_byte(store, tmp_path):
    make_step(tmp_path / "run", "ckpt_00000007", metrics={"loss": 0.5})
    kept.log_orbax(tmp_path / "run", "m", store)
    store["m:step_7"].download(tmp_path / "back")
    assert tree(tmp_path / "back") == tree(tmp_path / "run")


def test_unfinished_steps_are_named_and_left(store, tmp_path):
    make_step(tmp_path, "1")
    make_step(tmp_path, "2", finished=False)
    make_step(tmp_path, "3.orbax-checkpoint-tmp-1")
    (tmp_path / "logs").mkdir()
    (tmp_path / "4").write_text("a file")
    with pytest.warns(UserWarning, match=r"not finished 2, 3\.orbax-checkpoint-tmp-1 in"):
        assert len(kept.log_orbax(tmp_path, "m", store)) == 1


def test_the_metric_of_orbax_decides_which_is_best(store, tmp_path):
    for number, loss in enumerate([0.5, 0.2, 0.3, None]):
        make_step(tmp_path, str(number), metrics=None if loss is None else {"loss": loss})
    kept.log_orbax(tmp_path, "m", store, monitor="loss")
    assert store["m:best"].metadata["value"] == 0.2
    kept.log_orbax(tmp_path, "up", store, monitor="loss", mode="max")
    assert store["up:best"].metadata["metrics"] == {"loss": 0.5}


def test_what_a_callback_of_kept_noted_counts(store, tmp_path):
    noted = {
        "aliases": ["epoch_4", "latest"],  # an earlier kept took latest among aliases=
        "metadata": {"epoch": 4, "monitor": "loss", "mode": "min", "value": 1.5},
        "contends": True,
    }
    make_step(tmp_path, "4", noted={OWN_KEY: noted})
    [version] = kept.log_orbax(tmp_path, "m", store)
    assert version.aliases == ("latest", "best", "epoch_4")
    assert version.metadata["epoch"] == 4


def test_a_protected_alias_of_a_callback_is_left_out_with_a_warning(store, tmp_path):
    noted = {"aliases": ["epoch_4", "prod"], "metadata": {}, "contends": False}
    make_step(tmp_path, "4", noted={OWN_KEY: noted})
    store.protect("prod")
    with pytest.warns(UserWarning, match="stored without prod"):
        [version] = kept.log_orbax(tmp_path, "m", store)
    assert version.aliases == ("latest", "epoch_4")


@pytest.mark.parametrize(
    "noted",
    [
        {"aliases": ["v3"], "metadata": {}, "contends": True},  # no alias
        {"aliases": "x", "metadata": {}, "contends": True},
        {"aliases": [], "metadata": [], "contends": True},
        {"aliases": [], "metadata": {}, "contends": "yes"},
        ["x"],
        None,
    ],
)
def test_notes_that_kept_did_not_write_are_left_out(store, tmp_path, noted):
    make_step(tmp_path, "4", noted={OWN_KEY: noted})
    [version] = kept.log_orbax(tmp_path, "m", store)
    assert version.aliases == ("latest", "step_4")


def test_a_broken_metadata_file_with_a_marker_is_a_step(store, tmp_path):
    make_step(tmp_path, "4")
    (tmp_path / "4" / "_CHECKPOINT_METADATA").write_bytes(b"\xff{")
    assert [step.saved for step in find_steps(tmp_path).finished] == [None]
    kept.log_orbax(tmp_path, "m", store)
    assert kept.log_orbax(tmp_path, "m", store) == []


@pytest.mark.parametrize(
    "metrics", ['{"loss": ' + "[" * 100_000, '{"loss": 1' + "0" * 400 + "}"], ids=["deep", "large"]
)
def test_odd_metrics_of_one_step_end_no_call(store, tmp_path, metrics):
    for number in (1, 2, 3):
        make_step(tmp_path, str(number), metrics={"loss": 1 / number})
    (tmp_path / "2" / "metrics" / "metrics").write_text(metrics)
    taken = kept.log_orbax(tmp_path, "m", store, monitor="loss")
    assert [v.metadata.get("value") for v in taken] == [1.0, None, 1 / 3]


def test_what_is_no_folder_of_steps_is_refused(store, tmp_path):
    with pytest.raises(InvalidPath, match="A folder of Orbax is expected"):
        kept.log_orbax(tmp_path / "none", "m", store)
    with pytest.raises(InvalidPath, match="no finished step"):
        kept.log_orbax(tmp_path, "m", store)
    make_step(tmp_path, "4")
    with pytest.raises(InvalidPath, match=r"one checkpoint of Orbax.*kept put NAME"):
        kept.log_orbax(tmp_path / "4", "m", store)
    with pytest.raises(InvalidInput, match="mode is 'min' or 'max'"):
        kept.log_orbax(tmp_path, "m", store, mode="best")
    assert store.artifacts() == []

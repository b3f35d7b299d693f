"""kept.import_checkpoints of a folder of files."""

from __future__ import annotations

import os
import shutil

import pytest

import kept
from kept.errors import InvalidInput, InvalidPath
from kept.exchange.importing import run as import_run
from tests.helpers import arrays, hdf5, keras


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power cut comes in these tests


@pytest.fixture
def store(tmp_path):
    return kept.open_store(tmp_path / "store")


@pytest.fixture
def folder(tmp_path):
    """Eleven epochs, whose dates are not in their order."""
    place = tmp_path / "run"
    place.mkdir()
    shared = arrays(0, base=40_000)
    for epoch in range(1, 12):
        path = place / f"weights.{epoch:02d}-{1 / epoch:.2f}.keras"
        path.write_bytes(keras(shared | arrays(epoch, head=400), second=epoch))
        os.utime(path, (1_700_000_000 - epoch, 1_700_000_000 - epoch))
    return place


def test_each_file_becomes_a_version_in_the_order_of_epochs(folder, store):
    new = kept.import_checkpoints(folder, store=store, monitor="val_loss")
    assert [v.metadata["epoch"] for v in new] == list(range(11))
    assert [v.reference for v in new] == [f"run:v{n}" for n in range(11)]
    first = store["run:epoch_0"].metadata
    assert first["saved_at"] == "2023-11-14T22:13:19.000000Z"
    assert first["imported_from"]["file"] == "weights.01-1.00.keras"
    assert (first["format"], first["keras_version"]) == ("keras", "3.15.1")
    assert (first["metrics"], first["monitor"], first["mode"]) == (
        {"val_loss": 1.0},
        "val_loss",
        "min",
    )
    assert store["run:best"].version == "v10"
    assert store["run"].best("val_loss").version == "v10"


def test_tensors_that_stay_are_stored_once(folder, store):
    new = kept.import_checkpoints(folder, store=store)
    assert all(v.bytes_new < 10_000 < 40_000 < v.size for v in new[1:])


def test_the_bytes_come_back(folder, store, tmp_path):
    kept.import_checkpoints(folder, "m", store)
    store["m:epoch_3"].download(tmp_path / "out")
    name = "weights.04-0.25.keras"
    assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()


def test_a_second_import_adds_what_is_new(folder, store):
    kept.import_checkpoints(folder, store=store)
    assert kept.import_checkpoints(folder, store=store) == []
    (folder / "weights.12-0.01.keras").write_bytes(keras(arrays(99, head=400)))
    [new] = kept.import_checkpoints(folder, store=store)
    assert new.metadata["epoch"] == 11


def test_a_copy_with_new_dates_is_known(folder, store, tmp_path):
    kept.import_checkpoints(folder, store=store)
    for path in folder.iterdir():
        os.utime(path)
    assert kept.import_checkpoints(folder, store=store) == []
    shutil.copytree(folder, tmp_path / "copy")
    assert kept.import_checkpoints(tmp_path / "copy", "run", store) == []


def test_a_file_with_other_bytes_is_a_new_version(folder, store):
    kept.import_checkpoints(folder, store=store)
    (folder / "weights.05-0.20.keras").write_bytes(keras(arrays(77, head=400)))
    [new] = kept.import_checkpoints(folder, store=store)
    assert (new.version, new.metadata["epoch"]) == ("v11", 4)


def test_equal_files_of_two_epochs_are_stored_once_and_known(store, tmp_path):
    for epoch, rng in enumerate([1, 1, 2], 1):
        path = tmp_path / f"runs/{epoch}/model.keras"
        path.parent.mkdir(parents=True)
        path.write_bytes(keras(arrays(rng, a=400)))
    pattern = "{epoch}/model.keras"
    kept.import_checkpoints(tmp_path / "runs", store=store, pattern=pattern)
    assert [v.aliases for v in store["runs"]] == [("epoch_0", "epoch_1"), ("latest", "epoch_2")]
    assert kept.import_checkpoints(tmp_path / "runs", store=store, pattern=pattern) == []


def test_a_deleted_version_does_not_come_back(folder, store):
    kept.import_checkpoints(folder, store=store)
    store.delete("run:v3", force=True)
    assert kept.import_checkpoints(folder, store=store) == []


def test_an_interrupted_import_continues(folder, store, monkeypatch):
    real, calls = type(store).log_artifact, []

    def interrupted(*args, **options):
        calls.append(args)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "log_artifact", interrupted)
        with pytest.raises(KeyboardInterrupt):
            kept.import_checkpoints(folder, store=store)
    assert len(store["run"]) == 4
    new = kept.import_checkpoints(folder, store=store)
    assert [v.metadata["epoch"] for v in new] == list(range(4, 11))


def damage_end(path):
    path.write_bytes(path.read_bytes()[:-100])


def damage_weights(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def other_zip(path):
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.txt", "x")


@pytest.mark.parametrize("damage", [damage_end, damage_weights, other_zip])
def test_a_damaged_file_is_named_and_skipped(folder, store, damage):
    damage(folder / "weights.03-0.33.keras")
    with pytest.warns(UserWarning, match=r"Not imported: weights\.03-0\.33\.keras: "):
        new = kept.import_checkpoints(folder, store=store)
    assert [v.metadata["epoch"] for v in new] == [0, 1, *range(3, 11)]
    with pytest.warns(UserWarning, match="Not imported"):
        assert kept.import_checkpoints(folder, store=store) == []


def test_a_file_that_cannot_be_read_is_named(folder, store):
    (folder / "weights.03-0.33.keras").unlink()
    (folder / "weights.03-0.33.keras").symlink_to("nothing")
    with pytest.warns(UserWarning, match=r"weights\.03-0\.33\.keras: it .* does not exist$"):
        assert len(kept.import_checkpoints(folder, store=store)) == 10


def test_hdf5_without_weights_is_no_checkpoint(store, tmp_path):
    import h5py

    place = tmp_path / "mixed"
    place.mkdir()
    (place / "good-1.h5").write_bytes(hdf5(arrays(1, a=400)))
    with h5py.File(place / "data-2.h5", "w") as file:
        file["images"] = [1, 2, 3]
    with pytest.warns(UserWarning, match=r"data-2\.h5: it is an HDF5 file without weights"):
        [new] = kept.import_checkpoints(place, store=store)
    assert new.files[0].path == "good-1.h5"


def test_files_without_an_epoch_come_last_by_time(folder, store):
    for name, time in [("best.keras", 1_800_000_002), ("last.keras", 1_800_000_001)]:
        (folder / name).write_bytes(keras(arrays(time, head=400)))
        os.utime(folder / name, (time, time))
    new = kept.import_checkpoints(folder, store=store)
    assert [v.metadata["imported_from"]["file"] for v in new[-2:]] == ["last.keras", "best.keras"]
    assert "epoch" not in new[-1].metadata


def test_the_only_metric_of_known_direction_decides_best(store, tmp_path):
    place = tmp_path / "acc"
    place.mkdir()
    for epoch, value in enumerate([0.5, 0.9, 0.7]):
        path = place / f"epoch={epoch}-val_acc={value}.weights.h5"
        path.write_bytes(hdf5(arrays(epoch, a=400)))
    new = kept.import_checkpoints(place, store=store)
    assert [v.metadata["epoch"] for v in new] == [0, 1, 2]
    assert store["acc:best"].version == "v1"
    assert store["acc:best"].metadata["format"] == "weights.h5"


@pytest.mark.parametrize("metadata", [{}, {"monitor": "auc", "mode": "max", "value": 0.9}])
def test_a_best_version_of_another_metric_stays_unless_a_metric_is_named(store, tmp_path, metadata):
    store.log_artifact("m", __file__, type="model", aliases=["best"], metadata=metadata)
    place = tmp_path / "loss"
    place.mkdir()
    (place / "epoch=0-val_loss=0.5.keras").write_bytes(keras(arrays(1, a=400)))
    kept.import_checkpoints(place, "m", store)
    assert store["m:best"].version == "v0"
    (place / "epoch=1-val_loss=0.4.keras").write_bytes(keras(arrays(2, a=400)))
    kept.import_checkpoints(place, "m", store, monitor="val_loss")
    assert store["m:best"].version == "v2"


def test_a_file_with_nan_in_its_weights_is_never_best(folder, store):
    import numpy as np

    bad = {"dense": np.array([1, np.nan], "float32")}
    (folder / "weights.12-0.01.keras").write_bytes(keras(bad))
    new = kept.import_checkpoints(folder, store=store, monitor="val_loss")
    assert [v.metadata["health"] for v in new] == ["ok"] * 11 + ["unhealthy"]
    assert new[-1].metadata["health_findings"] == ["dense/kernel: 1 of 2 values are NaN"]
    assert store["run:best"].version == "v10"


def test_a_pattern_decides_what_names_mean(folder, store):
    pattern = f"{folder}/weights.{{epoch:02d}}-{{val_acc:.2f}}.keras"
    (folder / "other.keras").write_bytes(b"x")
    new = kept.import_checkpoints(folder, store=store, pattern=pattern, monitor="val_acc")
    assert len(new) == 11
    assert store["run:best"].version == "v0"


def test_a_pattern_takes_files_with_any_ending(store, tmp_path):
    place = tmp_path / "odd"
    place.mkdir()
    (place / "w_3.bin").write_bytes(b"weights")
    [new] = kept.import_checkpoints(place, store=store, pattern="w_{epoch}.bin")
    assert (new.metadata["epoch"], "format" in new.metadata) == (2, False)


def test_a_pattern_can_have_folders(store, tmp_path):
    for epoch in (1, 2):
        path = tmp_path / f"runs/{epoch:02d}/model.keras"
        path.parent.mkdir(parents=True)
        path.write_bytes(keras(arrays(epoch, a=400)))
    pattern = "runs/{epoch:02d}/model.keras"
    new = kept.import_checkpoints(tmp_path / "runs", store=store, pattern=pattern)
    assert [v.metadata["epoch"] for v in new] == [0, 1]
    assert [f.path for v in new for f in v.files] == ["model.keras"] * 2


def test_a_saved_model_and_a_tensorflow_checkpoint_are_one_version_each(store, tmp_path):
    place = tmp_path / "mixed"
    (place / "epoch_1/variables").mkdir(parents=True)
    (place / "epoch_1/saved_model.pb").write_bytes(b"graph")
    (place / "epoch_1/keras_metadata.pb").write_bytes(b"of Keras 2")
    (place / "epoch_1/variables/variables.index").write_bytes(b"index")
    for name in ("cp-0002.ckpt.index", "cp-0002.ckpt.data-00000-of-00001", "checkpoint"):
        (place / name).write_bytes(name.encode())
    saved, tensorflow = kept.import_checkpoints(place, store=store)
    names = ["keras_metadata.pb", "saved_model.pb", "variables/variables.index"]
    assert [f.path for f in saved.files] == names
    assert (saved.metadata["format"], saved.metadata["keras_version"]) == ("saved_model", "2")
    names = ["cp-0002.ckpt.data-00000-of-00001", "cp-0002.ckpt.index"]
    assert [f.path for f in tensorflow.files] == names
    assert (tensorflow.metadata["format"], tensorflow.metadata["epoch"]) == ("tf_checkpoint", 1)
    assert kept.import_checkpoints(place, store=store) == []
    for path in place.iterdir():
        os.utime(path)
    assert kept.import_checkpoints(place, store=store) == []


def test_a_name_that_no_version_can_hold_is_replaced(store, tmp_path):
    place = tmp_path / "odd"
    place.mkdir()
    (place / "epoch:1|x.keras").write_bytes(keras(arrays(1, a=400)))
    [new] = kept.import_checkpoints(place, store=store)
    assert [f.path for f in new.files] == ["epoch_1_x.keras"]
    assert new.metadata["imported_from"]["file"] == "epoch:1|x.keras"
    os.utime(place / "epoch:1|x.keras")
    assert kept.import_checkpoints(place, store=store) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"monitor": "val_acc"}, "None of the checkpoints has the metric"),
        ({"mode": "min"}, "mode needs a monitor"),
        ({"first_epoch": 2}, "first_epoch is 0 or 1"),
        ({"name": "a b"}, "An artifact name"),
        ({"pattern": "x.{epoch}.keras"}, "has the form"),
        ({"pattern": "w{epoch}-{odd}.keras", "monitor": "odd"}, "has the form"),
    ],
)
def test_bad_input_is_refused_before_anything_is_stored(folder, store, options, message):
    for path in list(folder.iterdir()):
        path.rename(path.with_name(path.name.replace("-0.", "_0_").replace("-1.", "_1_")))
    options = {"name": "m"} | options
    with pytest.raises(InvalidInput, match=message):
        kept.import_checkpoints(folder, store=store, **options)
    assert not store.exists


def test_a_metric_of_unknown_direction_needs_a_mode(folder, store):
    pattern = "weights.{epoch}-{odd}.keras"
    with pytest.raises(InvalidInput, match="Pass mode"):
        kept.import_checkpoints(folder, store=store, pattern=pattern, monitor="odd")
    kept.import_checkpoints(folder, store=store, pattern=pattern, monitor="odd", mode="max")
    assert store["run:best"].version == "v0"


@pytest.mark.parametrize(
    "make", [lambda p: None, lambda p: p.write_bytes(b""), lambda p: p.mkdir()]
)
def test_a_folder_without_checkpoints_is_refused(store, tmp_path, make):
    make(tmp_path / "none")
    with pytest.raises(InvalidPath, match="none"):
        kept.import_checkpoints(tmp_path / "none", store=store)


@pytest.mark.parametrize("pattern", [None, "{epoch}.keras"])
def test_folders_in_a_folder_without_checkpoints_are_named(store, tmp_path, pattern):
    (tmp_path / "all/fold_1").mkdir(parents=True)
    with pytest.raises(InvalidPath, match="no file, and folders such as fold_1"):
        kept.import_checkpoints(tmp_path / "all", store=store, pattern=pattern)


def test_an_artifact_keeps_its_type(folder, store):
    store.log_artifact("run", __file__, type="dataset")
    with pytest.raises(InvalidInput, match="an artifact keeps its type"):
        kept.import_checkpoints(folder, store=store)


def test_a_store_that_fails_ends_the_import(folder, store, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(store), "log_artifact", full)
    with pytest.raises(OSError, match="No space"):
        kept.import_checkpoints(folder, store=store)


def test_known_checkpoints_are_not_read_again(folder, store, monkeypatch):
    kept.import_checkpoints(folder, store=store)
    opened = []
    monkeypatch.setattr(import_run, "_imported", lambda *args: opened.append(args))
    assert kept.import_checkpoints(folder, store=store) == []
    assert opened == []

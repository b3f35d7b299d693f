"""File names that Keras's callback takes, and what stands at the path already."""

import os
import stat
from pathlib import Path

import keras
import numpy as np
import pytest

import kept
from kept.errors import InvalidCheckpoint, SaveFailed
from kept.names import check_path, portable_name
from tests.training.helpers import assert_same_state, losses, make_model, play

ODD = [
    "best-2024-05-01_10:30:15.keras",
    "a\\b.keras",
    'what?*<>|".keras',
    "con.keras",
    "m\n{epoch}.keras",
    "m\u202e.keras",
    "run {val_loss:*>9.3f}.keras",
]


@pytest.mark.any_framework
@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("m.keras", "m.keras"),
        ("größe.keras", "größe.keras"),
        ("10:30.keras", "10_30.keras"),
        ("nul.keras", "_nul.keras"),
        ("m ", "m_"),
        ("m.", "m_"),
        ("\udcff.keras", "?.keras".replace("?", "_")),
        ("é" * 120 + ":.weights.h5", "é" * 120 + "_.weights.h5"),
    ],
)
def test_a_name_that_every_system_can_hold(name, stored):
    assert portable_name(name) == stored
    assert check_path(stored) == stored


@pytest.mark.parametrize("filepath", ODD)
def test_an_odd_name(model, filepath):
    callback = kept.ModelCheckpoint(filepath, name="m")
    play([callback], losses(0.5), model=model)
    name = filepath.format(epoch=1, val_loss=0.5)
    (version,) = callback.versions
    assert version.metadata["file_name"] == name
    assert os.path.isfile(name)
    assert version.load_model().count_params() == model.count_params()
    other = make_model(seed=2)
    version.load_weights(other)
    for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.any_framework
def test_resume_and_weights_and_local_files(data, model):
    options = {"save_weights_only": True, "name": "m", "keep_local": 1, "verbose": 0}
    first = kept.ModelCheckpoint("{epoch}:00.weights.h5", **options)
    play([first], losses(0.5, 0.4), model=model)
    assert [name for name in os.listdir() if name.endswith("h5")] == ["2:00.weights.h5"]
    second = kept.ModelCheckpoint("{epoch}:00.weights.h5", resume=True, **options)
    other = make_model(seed=2)
    other.fit(*data, epochs=2, verbose=0, callbacks=[second])
    assert_same_state(model, other)


@pytest.mark.any_framework
@pytest.mark.parametrize("name", ["m\0.keras", "x" * 250 + ".keras"])
def test_a_name_that_no_file_can_have(name):
    with pytest.raises(InvalidCheckpoint, match="255 bytes"):
        kept.ModelCheckpoint(name)


def test_a_folder_that_ends_in_a_slash(model):
    if keras.backend.backend() == "torch":
        pytest.skip("Keras has no SavedModel there")
    callback = kept.ModelCheckpoint("models/", name="m")
    play([callback], losses(0.5), model=model)
    assert os.path.isfile("models/saved_model.pb")


class TestWhatStandsAtThePath:
    @pytest.mark.any_framework
    @pytest.mark.parametrize("exists", [True, False])
    def test_a_link_is_followed(self, model, tmp_path, exists):
        target = tmp_path / "elsewhere" / "real.keras"
        target.parent.mkdir()
        if exists:
            target.write_text("old")
        Path("m.keras").symlink_to(target)
        play([kept.ModelCheckpoint("m.keras", name="m")], losses(0.5, 0.4), model=model)
        assert Path("m.keras").is_symlink()
        assert keras.saving.load_model(target).count_params() == model.count_params()
        assert os.listdir(target.parent) == ["real.keras"]

    @pytest.mark.any_framework
    def test_permissions_stay(self, model):
        Path("m.keras").write_text("old")
        os.chmod("m.keras", 0o664)
        if os.geteuid() == 0:
            os.chown("m.keras", 1234, 4321)
        play([kept.ModelCheckpoint("m.keras", name="m")], losses(0.5), model=model)
        found = os.stat("m.keras")
        assert stat.S_IMODE(found.st_mode) == 0o664
        if os.geteuid() == 0:
            assert (found.st_uid, found.st_gid) == (1234, 4321)

    @pytest.mark.any_framework
    def test_a_new_file_has_those_of_the_umask(self, model):
        before = os.umask(0o027)
        try:
            play([kept.ModelCheckpoint("m.keras", name="m")], losses(0.5), model=model)
        finally:
            os.umask(before)
        assert stat.S_IMODE(os.stat("m.keras").st_mode) == 0o640

    def test_a_link_to_a_folder(self, model):
        if keras.backend.backend() == "torch":
            pytest.skip("Keras has no SavedModel there")
        Path("real").mkdir(mode=0o750)
        Path("m").symlink_to("real")
        play([kept.ModelCheckpoint("m", name="m")], losses(0.5, 0.4), model=model)
        assert Path("m").is_symlink()
        assert Path("real/saved_model.pb").is_file()
        assert stat.S_IMODE(os.stat("real").st_mode) == 0o750

    @pytest.mark.any_framework
    def test_a_rule_removes_what_a_link_leads_to_and_leaves_the_link(self, model, tmp_path):
        Path("real.keras").write_text("old")
        Path("m-1.keras").symlink_to("real.keras")
        callback = kept.ModelCheckpoint("m-{epoch}.keras", name="m", keep_local=1)
        play([callback], losses(0.5, 0.4), model=model)
        assert Path("m-1.keras").is_symlink()
        assert not Path("real.keras").exists()
        assert Path("m-2.keras").is_file()

    @pytest.mark.any_framework
    def test_a_read_only_file_is_refused(self, model, monkeypatch):
        Path("m.keras").write_text("old")
        real = os.access
        monkeypatch.setattr(
            os, "access", lambda p, m: not str(p).endswith("m.keras") and real(p, m)
        )
        with pytest.raises(InvalidCheckpoint, match="read-only"):
            kept.ModelCheckpoint("m.keras", name="m")
        Path("m-1.keras").write_text("old")
        callback = kept.ModelCheckpoint("{val_loss:.0f}m.keras", name="m")
        Path("0m.keras").write_text("old")
        with pytest.raises(SaveFailed, match=r"committed.*read-only"):
            play([callback], losses(0.4), model=model)
        assert Path("0m.keras").read_text() == "old"

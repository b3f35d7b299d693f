"""Protected aliases and runs: refused before training, and no checkpoint lost afterwards."""

from __future__ import annotations

import keras
import pytest

import kept
from kept import messages
from kept.errors import InvalidCheckpoint, InvalidName
from kept.sync.outbox.outbox import Outbox
from tests.helpers import finish, start

pytestmark = pytest.mark.any_framework


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch):
    monkeypatch.setattr(messages, "_said", set())


def checkpoint_of(store, **options):
    given = {"monitor": "loss", "store": store, "name": "m", "aliases": ["prod", "own"]} | options
    return kept.ModelCheckpoint("m.keras", **given)


class Protects(keras.callbacks.Callback):
    """Another process that protects prod while the second epoch is trained."""

    def __init__(self, location):
        super().__init__()
        self.location = location

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            kept.open_store(self.location).protect("prod")


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_a_protected_alias_is_refused_before_training(model, data, request, tmp_path, where):
    location = request.getfixturevalue("s3") if where == "s3" else str(tmp_path / "store")
    kept.open_store(location).protect("prod")
    checkpoint = checkpoint_of(location)
    with pytest.raises(InvalidCheckpoint, match="kept promote NAME:vN prod"):
        model.fit(*data, epochs=1, verbose=0, callbacks=[checkpoint])
    assert kept.open_store(location).artifacts() == []
    model.fit(*data, epochs=1, verbose=0, callbacks=[checkpoint_of(location, aliases=["own"])])
    assert "own" in kept.open_store(location).version("m").aliases


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_protected_during_a_run_it_stays_and_no_checkpoint_is_lost(
    model, data, request, tmp_path, capsys, where
):
    location = request.getfixturevalue("s3") if where == "s3" else str(tmp_path / "store")
    checkpoint = checkpoint_of(location, background=False)
    # Object storage gets a checkpoint when its courier sends it, so the first one may be late.
    model.fit(*data, epochs=3, verbose=0, callbacks=[Protects(location), checkpoint])
    store = kept.open_store(location)
    versions = store.versions("m")
    assert len(versions) == 3
    assert "own" in versions[2].aliases
    assert all("prod" not in version.aliases for version in versions[1:])
    if where == "folder":
        assert "prod" in versions[0].aliases
    assert capsys.readouterr().out.count("stored without prod") == 1
    assert checkpoint.versions[-1].reference == "m:v2"


def test_what_waits_in_the_outbox_is_sent_without_it(model, data, s3, proxy, quick):
    proxy.fault = lambda *_: "away"
    checkpoint = checkpoint_of(s3)
    model.fit(*data, epochs=2, verbose=0, callbacks=[checkpoint])
    checkpoint._controller.parts.destination._courier.stop(30)  # as at the end of the process
    assert len(Outbox().entries(s3)) == 2
    proxy.fault = lambda *_: None
    kept.open_store(s3).protect("prod")
    lines = finish(start("from kept.cli.main import main; main()", "sync"))
    assert any("2 checkpoints" in line for line in lines)
    versions = kept.open_store(s3).versions("m")
    assert [set(v.aliases) - {"latest", "best"} for v in versions] == [
        {"epoch_0"}, {"epoch_1", "own"},
    ]  # fmt: skip
    assert Outbox().entries(s3) == []


def test_latest_is_no_option(tmp_path):
    with pytest.raises(InvalidName, match="Leave it out"):
        kept.ModelCheckpoint("m.keras", store=tmp_path, aliases=["latest"])

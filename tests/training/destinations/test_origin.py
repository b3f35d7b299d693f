"""What a callback records of where its versions come from, and what they are made from."""

from __future__ import annotations

import copy
import threading

import keras
import pytest

import kept
from kept.errors import InvalidCheckpoint, InvalidInput, NotFound
from kept.store.origin import capture
from kept.sync.outbox.outbox import Outbox
from tests.helpers import finish, start
from tests.training.helpers import PATIENCE, begin, losses, play


def put(store, name, data=b"0", **options):
    return store.log_artifact(name, kept.MemoryFile("f", [data]), **options)


def played(model, epochs=2, *others, **options):
    """Save some epochs with a callback of these options; return its versions."""
    checkpoint = kept.ModelCheckpoint("m.weights.h5", save_weights_only=True, **options)
    play([checkpoint, *others], losses(*range(epochs)), model=model)
    return checkpoint.store.versions(checkpoint.name)


def test_the_versions_of_a_fit_have_one_provenance(model):
    first, second = played(model, name="m")
    found = first.provenance
    assert found["framework"] == keras.backend.backend()
    assert sum(found["devices"].values()) >= 1
    assert found["seeds"]["keras"] == 1  # of the fixture
    assert len(found["run"]["id"]) == 8
    assert {"command", "packages", "python", "platform", "host", "user"} <= found.keys()
    assert second.record.origin == {"provenance": 0}
    assert second.provenance == found
    assert first.parent is None


@pytest.mark.any_framework
def test_uses(model):
    store = kept.open_store()
    base = put(store, "base", aliases=["prod"])
    source = kept.Source("s3://bucket/data", "sha256:ab")
    versions = played(model, name="m", uses=["base:prod", source])
    assert [str(link) for link in versions[1].uses] == ["base:v0", "s3://bucket/data"]
    assert versions[1].uses[0].digest == base.digest
    assert [node.reference for node in base.lineage().down] == ["m:v0", "m:v1"]


@pytest.mark.any_framework
def test_without_capture_there_is_none(model):
    put(kept.open_store(), "base")
    version, *_ = played(model, name="m", capture=False, uses=["base"])
    assert (version.provenance, len(version.uses)) == ({}, 1)


@pytest.mark.any_framework
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"uses": "base"}, InvalidInput, "uses is a list"),
        ({"uses": ["a b"]}, InvalidInput, "Received: 'a b'"),
        ({"uses": [5]}, InvalidInput, "Received: 5"),
        ({"capture": "no"}, InvalidCheckpoint, "capture is True or False"),
    ],
)
def test_what_cannot_be_is_refused_by_the_constructor(options, error, message):
    with pytest.raises(error, match=message):
        kept.ModelCheckpoint("m.keras", **options)


@pytest.mark.any_framework
def test_what_does_not_exist_is_refused_before_training(model):
    checkpoint = kept.ModelCheckpoint("m.keras", name="m", uses=["base:v3"])
    with pytest.raises(NotFound, match="base"):
        begin(checkpoint, model)
    assert kept.open_store().artifacts() == []


@pytest.mark.any_framework
def test_a_git_that_hangs_delays_no_save(model, monkeypatch):
    released, threads = threading.Event(), []

    def slow(_):
        threads.append(threading.current_thread())
        assert released.wait(PATIENCE)
        yield {"commit": "1" * 40}

    monkeypatch.setattr(capture, "git_facts", slow)
    monkeypatch.setattr(capture, "_patience", capture.Patience(0.1))
    checkpoint = kept.ModelCheckpoint("m.weights.h5", save_weights_only=True, name="m")
    begin(checkpoint, model)
    checkpoint.on_epoch_end(0, {"val_loss": 1.0})
    assert checkpoint.wait(PATIENCE)  # it is committed while git is busy
    released.set()
    threads[0].join(PATIENCE)
    checkpoint.on_epoch_end(1, {"val_loss": 0.5})
    checkpoint.on_train_end()
    before, after = (version.provenance for version in checkpoint.versions)
    assert after == {**before, "git": {"commit": "1" * 40}}
    assert threading.main_thread() not in threads
    assert len(threads) == 1


@pytest.mark.any_framework
def test_the_next_fit_captures_again(model, monkeypatch):
    commits = iter("123")
    monkeypatch.setattr(capture, "git_facts", lambda _: [{"commit": next(commits)}])
    checkpoint = kept.ModelCheckpoint("m.weights.h5", save_weights_only=True, name="m")
    for _ in range(2):
        play([checkpoint], losses(1, 2), model=model)
    found = [version.provenance["git"]["commit"] for version in checkpoint.versions]
    assert found == ["1", "1", "2", "2"]


def test_the_parent_is_the_version_that_a_run_resumed_from(model, data):
    def fit(epochs, *others, **options):
        checkpoint = kept.ModelCheckpoint("m.keras", monitor="loss", **options)
        model.fit(*data, epochs=epochs, verbose=0, callbacks=[*others, checkpoint])
        return checkpoint.versions

    first = fit(1, name="m", resume=True)
    assert first[0].parent is None
    [second] = fit(2, name="m", resume=True)
    assert (str(second.parent), second.parent.digest) == ("m:v0", first[0].digest)
    [branch] = fit(2, name="branch", resume="m:v0")
    assert str(branch.parent) == "m:v0"
    [node] = branch.lineage().up
    assert (node.relation, node.reference) == ("parent", "m:v0")
    [other] = fit(3, kept.resume(model, "m:v1"), name="tuned", store="elsewhere")
    assert str(other.parent) == f"{first[0].store.location}/m:v1"
    assert [node.reference for node in other.lineage().up[0].up] == ["m:v0"]


@pytest.mark.any_framework
def test_copies_of_a_callback_have_the_options(model):
    store = kept.open_store()
    checkpoint = kept.ModelCheckpoint(
        "m.weights.h5", save_weights_only=True, name="m", uses=[put(store, "base")], capture=False
    )
    play([copy.deepcopy(checkpoint)], losses(1), model=model)
    version = store.version("m")
    assert ([str(link) for link in version.uses], version.provenance) == (["base:v0"], {})


@pytest.mark.any_framework
def test_an_outbox_carries_it(model, s3, proxy, quick, capsys):
    put(kept.open_store(s3), "base")
    found = played(model, 1, name="m", store=s3, uses=["base:latest"])
    assert [str(link) for link in found[0].uses] == ["base:v0"]
    assert found[0].provenance["framework"]
    proxy.fault = lambda *_: "away"
    checkpoint = kept.ModelCheckpoint(
        "m.weights.h5", save_weights_only=True, name="n", store=s3, uses=["base:prod", "base:v0"]
    )
    play([checkpoint], losses(1, 2), model=model)
    assert "uses= is not looked up" in capsys.readouterr().out
    [entry, _] = Outbox().entries(s3)
    assert entry.info["origin"]["uses"][0] == {"artifact": "base", "alias": "prod"}
    checkpoint._controller.parts.destination._courier.stop(30)  # as at the end of the process
    proxy.fault = lambda *_: None
    finish(start("from kept.cli.main import main; main()", "sync"))
    first, second = kept.open_store(s3).versions("n")
    assert [str(link) for link in first.uses] == ["base:prod", "base:v0"]
    assert first.provenance["framework"] == keras.backend.backend()
    assert second.record.origin["provenance"] == 0
    states = [node.state for node in first.lineage().up]
    assert states == ["not resolved", "exists"]


@pytest.mark.any_framework
def test_wandb(model, wandb_server):
    wandb = pytest.importorskip("wandb")
    put(kept.open_store(), "base")
    with wandb.init(project="p") as run:
        with pytest.raises(InvalidCheckpoint, match="use_artifact"):
            kept.WandbModelCheckpoint("m.keras", uses=["base"])
        checkpoint = kept.WandbModelCheckpoint(
            "m.keras", store="kept-store", name="m", uses=["base"], monitor="loss"
        )
        play([checkpoint], losses(1), model=model)
        [version] = checkpoint.versions
        assert version.provenance["run"]["wandb"]["id"] == run.id
        assert run.id in version.provenance["run"]["wandb"]["url"]

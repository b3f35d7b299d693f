"""ModelCheckpoint with store="s3://…": by way of the outbox, whatever becomes of the network."""

from __future__ import annotations

import os
import threading

import keras
import numpy as np
import pytest

import kept
from kept.errors import AccessDenied, BucketNotFound, Unreachable
from kept.sync import courier
from kept.sync.outbox.outbox import Outbox
from kept.training.monitor import Metric
from tests.helpers import finish, start
from tests.training.helpers import make_model

pytestmark = pytest.mark.any_framework


@pytest.fixture
def quick_pauses(monkeypatch):
    monkeypatch.setattr(courier, "_FIRST_PAUSE", 0.05)


def test_every_checkpoint_arrives_and_nothing_is_left(model, data, s3, tmp_path):
    checkpoint = kept.ModelCheckpoint("m.keras", monitor="loss", store=s3, name="m")
    model.fit(*data, epochs=3, verbose=0, callbacks=[checkpoint])
    versions = kept.open_store(s3).versions("m")
    assert [v.aliases[-1] for v in versions] == ["epoch_0", "epoch_1", "epoch_2"]
    assert [v.reference for v in checkpoint.versions] == ["m:v0", "m:v1", "m:v2"]
    assert {f.path for f in versions[0].files} >= {"m.keras", "kept-state.json"}
    assert all(v.metadata["bytes_new"] > 0 for v in versions)
    restored = versions[-1].load_model()
    for one, other in zip(restored.get_weights(), model.get_weights(), strict=True):
        assert np.array_equal(one, other)
    assert kept.open_store(s3).verify().problems == []
    assert not os.path.exists(Outbox().folder)
    assert sorted(os.listdir(tmp_path)) == ["m.keras"]


def test_a_store_that_is_away_for_the_whole_run(model, data, s3, proxy, quick, capsys):
    proxy.fault = lambda *_: "away"
    checkpoint = kept.ModelCheckpoint("m.keras", monitor="loss", store=s3, name="m")
    losses = model.fit(*data, epochs=3, verbose=0, callbacks=[checkpoint]).history["loss"]
    told = capsys.readouterr().out
    assert "Training continues" in told
    assert "kept sync" in told
    assert checkpoint.versions == []
    assert len(Outbox().entries(s3)) == 3
    checkpoint._controller.parts.destination._courier.stop(30)  # as at the end of the process
    proxy.fault = lambda *_: None
    lines = finish(start("from kept.cli.main import main; main()", "sync"))
    assert any("3 checkpoints" in line for line in lines)
    store = kept.open_store(s3)
    assert [v.index for v in store.versions("m")] == [0, 1, 2]
    assert store["m:best"].index == np.argmin(losses)
    assert store.verify().problems == []
    assert not os.path.exists(Outbox().folder)


def test_a_store_that_comes_back_is_caught_up_with(model, data, s3, proxy, quick, quick_pauses):
    checkpoint = kept.ModelCheckpoint("m.keras", monitor="loss", store=s3, name="m")
    away = threading.Event()
    proxy.fault = lambda *_: "away" if away.is_set() else None

    class Network(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            (away.set if epoch in (1, 2) else away.clear)()

    history = model.fit(*data, epochs=4, verbose=0, callbacks=[Network(), checkpoint]).history
    assert [v.reference for v in checkpoint.versions] == [f"m:v{n}" for n in range(4)]
    assert kept.open_store(s3)["m:best"].index == np.argmin(history["loss"])


@pytest.mark.parametrize("fault", ["drop", "503"])
def test_commits_without_an_answer_are_not_told_twice(
    model, data, s3, proxy, quick, quick_pauses, fault
):
    """Every answer to a record is lost for a while, so that retries of all layers meet it."""
    seen = []

    def misbehave(method, path):
        if method == "PUT" and "/log/" in path and seen.count(path) < 4:
            seen.append(path)
            return fault
        return None

    proxy.fault = misbehave
    checkpoint = kept.ModelCheckpoint("m.keras", monitor="loss", store=s3, name="m")
    model.fit(*data, epochs=2, verbose=0, callbacks=[checkpoint])
    assert len(seen) >= 4
    versions = kept.open_store(s3).versions("m")
    assert [v.aliases[-1] for v in versions] == ["epoch_0", "epoch_1"]
    assert [v.reference for v in checkpoint.versions] == ["m:v0", "m:v1"]


def test_what_a_run_left_comes_first_in_the_next_and_best_and_resume_know_it(
    model, data, s3, proxy, quick
):
    proxy.fault = lambda *_: "away"
    options = {"monitor": "loss", "store": s3, "name": "m"}
    first = kept.ModelCheckpoint("m.keras", **options)
    history = model.fit(*data, epochs=2, verbose=0, callbacks=[first]).history["loss"]
    third = kept.ModelCheckpoint("m.keras", resume=True, **options)
    with pytest.raises(Unreachable):  # where to go on is not known
        make_model().fit(*data, epochs=3, verbose=0, callbacks=[third])
    proxy.fault = lambda *_: None
    second = kept.ModelCheckpoint("m.keras", resume=True, **options)
    again = make_model()
    again.fit(*data, epochs=4, verbose=0, callbacks=[second])
    versions = kept.open_store(s3).versions("m")
    assert [v.metadata["epoch"] for v in versions] == [0, 1, 2, 3]
    assert [v.metadata["value"] for v in versions[:2]] == pytest.approx(history)
    assert versions[2].metadata["parent"]["reference"] == "m:v1"
    assert [v.index for v in second.versions] == [2, 3]


def test_best_counts_what_has_not_arrived(model, data, s3, proxy, quick):
    proxy.fault = lambda *_: "away"
    options = {"monitor": "loss", "store": s3, "name": "m"}
    model.fit(*data, epochs=2, verbose=0, callbacks=[kept.ModelCheckpoint("m.keras", **options)])
    best = min(e.info["metadata"]["value"] for e in Outbox().entries(s3))
    second = kept.ModelCheckpoint("m.keras", **options)
    second.set_model(make_model())
    assert second._controller.parts.destination.best("m", Metric("loss", "min")) == best
    assert second._controller.parts.destination.best("other", Metric("loss", "min")) is None


def test_what_waits_for_an_artifact_that_is_renamed_meanwhile(model, data, s3, proxy, quick):
    options = {"monitor": "loss", "store": s3, "name": "m"}
    model.fit(*data, epochs=1, verbose=0, callbacks=[kept.ModelCheckpoint("m.keras", **options)])
    away = threading.Event()
    proxy.fault = lambda *_: "away" if away.is_set() else None

    class Network(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            away.set()

    later = kept.ModelCheckpoint("m.keras", **options)
    model.fit(*data, epochs=2, verbose=0, callbacks=[Network(), later])
    assert len(Outbox().entries(s3)) == 2
    later._controller.parts.destination._courier.stop(30)
    away.clear()
    store = kept.open_store(s3)
    store.rename("m", "net")
    finish(start("from kept.cli.main import main; main()", "sync"))
    store = kept.open_store(s3)
    assert [v.index for v in store.versions("m")] == [1, 2]  # under the name that the run knows
    assert [v.index for v in store.versions("net")] == [0]
    assert store.rename("m", "net") == 2
    assert [v.index for v in store.versions("net")] == [0, 1, 2]
    assert store.verify().problems == []


def test_an_entry_that_is_sent_while_it_is_compared_ends_no_fit(
    model, data, s3, proxy, quick, monkeypatch
):
    proxy.fault = lambda *_: "away"
    options = {"monitor": "loss", "store": s3, "name": "m"}
    model.fit(*data, epochs=1, verbose=0, callbacks=[kept.ModelCheckpoint("m.keras", **options)])
    destination = kept.ModelCheckpoint("m.keras", **options)._controller.parts.destination
    metric, files = Metric("loss", "min"), {"m.keras": "m.keras"}
    [entry] = destination._delivery.left()
    assert destination.value_at("m", files, metric) == entry.info["metadata"]["value"]
    monkeypatch.setattr(destination._delivery, "left", lambda: [entry])
    Outbox().confirm(entry)
    assert destination.value_at("m", files, metric) is None


def test_what_cannot_work_is_told_before_training(proxy, s3):
    with pytest.raises(BucketNotFound):
        kept.ModelCheckpoint("m.keras", store="s3://no-such-bucket/p", name="m")
    proxy.fault = lambda *_: "expired"
    with pytest.raises(AccessDenied, match="expired"):
        kept.ModelCheckpoint("m.keras", store=s3, name="m")


def test_health_decides_about_best_in_object_storage_and_the_run_is_live(model, data, s3):
    from kept.sync.live import live_runs

    seen = []

    class Breaks(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.extend(live_runs(s3))
            kernel = self.model.layers[0].kernel
            kernel.assign(kernel * (float("nan") if epoch == 1 else 1.0))

    checkpoint = kept.ModelCheckpoint("m.keras", monitor="loss", store=s3, name="m")
    model.fit(*data, epochs=2, verbose=0, callbacks=[checkpoint, Breaks()])
    store = kept.open_store(s3)
    assert [v.metadata["health"] for v in store.versions("m")] == ["ok", "unhealthy"]
    assert store["m:best"].index == 0
    assert {run.artifact for run in seen} == {"m"}
    assert live_runs(s3) == []

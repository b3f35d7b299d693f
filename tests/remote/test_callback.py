"""The callback on a server that misbehaves, with the store there and with a mirror there."""

from __future__ import annotations

import os
import time

import keras
import numpy as np
import pytest

import kept
from kept.sync import courier
from kept.sync.outbox.outbox import Outbox
from tests.helpers import finish, start, tree
from tests.servers.proxy import FirstTime
from tests.training.conftest import _own_folder, data, model, rewind

__all__ = ["_own_folder", "data", "model", "rewind"]  # fixtures

EPOCHS = 3
OLD, NEW = "fakeOldTokenFakeOldTokenFake", "fakeNewTokenFakeNewTokenFake"
SYNC = "from kept.cli.main import main; main()"


@pytest.fixture(autouse=True)
def quick_pauses(monkeypatch):
    monkeypatch.setattr(courier, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(courier, "_LONGEST_PAUSE", 0.2)


@pytest.fixture(params=["store", "mirror"])
def way(request):
    """How the server is used: as the store itself, or as the mirror of one in a folder."""
    return request.param


@pytest.fixture
def checkpoint(way, s3):
    options = {"store": s3} if way == "store" else {"mirror": s3}
    return kept.ModelCheckpoint("{epoch}.keras", monitor="loss", name="m", **options)


def courier_of(checkpoint):
    """Return what sends to the server."""
    destination = checkpoint._controller.parts.destination
    mirrors = destination._mirrors._all
    return mirrors[0].courier if mirrors else destination._courier


def arrive(checkpoint):
    """Wait until all is on the server; each wait of a courier is over after a failed attempt."""
    end = time.monotonic() + 120
    while not courier_of(checkpoint).wait(10):
        assert time.monotonic() < end, courier_of(checkpoint)._error


class Each(keras.callbacks.Callback):
    """Calls a function at the begin of an epoch, and remembers the weights at its end."""

    def __init__(self, begin=lambda epoch: None):
        super().__init__()
        self._begin, self.weights = begin, []

    def on_epoch_begin(self, epoch, logs=None):
        self._begin(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append([np.array(weight) for weight in self.model.get_weights()])


def check_complete(location, history, each):
    """Every epoch is there once, in order, holds what it should, and best is the best."""
    store = kept.open_store(location)
    versions = store.versions("m")
    assert [v.index for v in versions] == list(range(EPOCHS))
    assert [v.metadata["epoch"] for v in versions] == list(range(EPOCHS))
    assert store["m:best"].index == np.argmin(history["loss"])
    assert store.verify().problems == []
    for version, weights in zip(versions, each.weights, strict=True):
        restored = version.load_model().get_weights()
        assert all(map(np.array_equal, restored, weights))
    assert store.log("m").view().head == EPOCHS  # records: no event was repeated


@pytest.mark.parametrize(
    ("way", "fault"),
    [("store", fault) for fault in ("drop", "503", "409", "slow", "reset", "expired", "away")]
    + [("mirror", fault) for fault in ("drop", "409", "expired")],
    indirect=["way"],
)
def test_a_server_that_fails_every_request_once(model, data, s3, proxy, way, checkpoint, fault):
    """The store is looked at before training, and that has to succeed: so from then on.

    409 is what S3 answers to creations only; and the probe has another key each time.
    """
    begun = FirstTime(fault, *(("PUT", "/log/") if fault == "409" else (None, "")))
    fails = lambda method, path: None if "/tmp/" in path else begun(method, path)  # noqa: E731
    proxy.seconds = 0.05
    each = Each(lambda epoch: setattr(proxy, "fault", fails))
    history = model.fit(*data, epochs=EPOCHS, verbose=0, callbacks=[each, checkpoint]).history
    arrive(checkpoint)
    assert len(begun.seen) >= EPOCHS
    proxy.fault = lambda *_: None
    check_complete(s3, history, each)
    assert [v.reference for v in checkpoint.versions] == ["m:v0", "m:v1", "m:v2"]
    assert not os.path.exists(Outbox().folder)


def test_credentials_that_expire_in_mid_run(
    model,
    data,
    s3,
    proxy,
    way,
    checkpoint,
    capsys,
    tmp_path,
    monkeypatch,
):
    monkeypatch.setenv("AWS_SESSION_TOKEN", OLD)
    options = {"store": s3} if way == "store" else {"mirror": s3}
    checkpoint = kept.ModelCheckpoint("{epoch}.keras", monitor="loss", name="m", **options)

    def begin(epoch):
        if epoch == 1:
            checkpoint.wait()
            arrive(checkpoint)
            proxy.expired.add(OLD)

    each = Each(begin)
    history = model.fit(*data, epochs=EPOCHS, verbose=0, callbacks=[each, checkpoint]).history
    printed = capsys.readouterr().out
    assert printed.count("training continues, and every version is safe") == 1
    assert "the credentials have expired. Renew them" in printed
    assert printed.splitlines()[-1].count("kept sync") == 1
    assert OLD not in printed
    assert sorted(file for file in tree(tmp_path) if file.endswith(".keras")) == [
        "1.keras", "2.keras", "3.keras"
    ]  # fmt: skip
    if way == "store":
        assert len(Outbox().entries(s3)) == EPOCHS - 1
    else:
        assert [v.index for v in checkpoint.versions] == list(range(EPOCHS))
    courier_of(checkpoint).stop(30)  # as at the end of the process
    monkeypatch.setenv("AWS_SESSION_TOKEN", NEW)
    assert [v.index for v in kept.open_store(s3).versions("m")] == [0]
    finish(start(SYNC, "sync"))
    check_complete(s3, history, each)
    assert not os.path.exists(Outbox().folder)

"""A fit whose destination accepts connections and never answers: no hook waits for long."""

from __future__ import annotations

import time

import keras
import pytest

import kept
from kept.bucket import reach
from kept.bucket.object_storage import breaker
from kept.errors import Unreachable
from kept.store.open import open_bucket
from kept.sync import courier
from kept.training.destinations import remote_store
from tests.remote.silence import short_limits, silent
from tests.servers.lying import LyingProxy
from tests.training.conftest import _own_folder, data, model, rewind

__all__ = ["_own_folder", "data", "model", "rewind", "silent"]  # fixtures

PATIENCE = 0.3
NEVER = 120.0  # seconds until a request fails that no hook may wait for
LONGEST = NEVER / 4  # more than any load of the machine costs
HOOKS = [
    "on_train_begin", "on_epoch_begin", "on_train_batch_end", "on_epoch_end", "on_train_end",
]  # fmt: skip
pytestmark = pytest.mark.usefixtures("_own_folder")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    for module, name in ((reach, "PATIENCE"), (courier, "PATIENCE"), (remote_store, "_PATIENCE")):
        monkeypatch.setattr(module, name, PATIENCE)
    monkeypatch.setattr(courier, "NOTICE_SECONDS", 0.1)
    monkeypatch.setattr(breaker, "_FIRST_PAUSE", 0.0)  # so that every attempt would wait


@pytest.fixture
def timed(monkeypatch):
    """Return a callback whose constructor and hooks are timed, and the longest of each."""

    def timed(**options):
        longest = {}
        make = _timed(kept.ModelCheckpoint, "constructor", longest)
        checkpoint = make("{epoch}.keras", monitor="loss", name="m", **options)
        for name in HOOKS:
            monkeypatch.setattr(checkpoint, name, _timed(getattr(checkpoint, name), name, longest))
        return checkpoint, longest

    return timed


def _timed(call, name, longest):
    def timed(*args, **options):
        begun = time.monotonic()
        try:
            return call(*args, **options)
        finally:
            longest[name] = max(longest.get(name, 0.0), time.monotonic() - begun)

    return timed


@pytest.mark.parametrize(
    "options",
    [
        {"to": "store"},
        {"to": "store", "save_best_only": True, "keep": kept.Keep(last=1)},
        {"to": "mirror", "save_best_only": True},
        {"to": "mirror", "keep": kept.Keep(last=1), "keep_local": False, "resume": True},
    ],
)
def test_no_hook_waits(silent, options, timed, model, data, capsys, monkeypatch):
    short_limits(monkeypatch, NEVER)
    options = dict(options)
    checkpoint, longest = timed(**{options.pop("to"): silent}, **options)
    for _ in range(2):
        model.fit(*data, epochs=2, verbose=0, callbacks=[checkpoint])
    assert set(longest) == {"constructor", *HOOKS}
    assert max(longest.values()) < LONGEST, longest
    said = capsys.readouterr().out
    assert "yet (it does not answer)" in said or "did not answer in time" in said
    assert "kept sync" in said


def test_resuming_from_a_silent_store_is_an_error_in_time(silent, timed, model, data):
    checkpoint, _ = timed(store=silent, resume=True)
    with pytest.raises(Unreachable, match="did not answer in time"):
        model.fit(*data, epochs=1, verbose=0, callbacks=[checkpoint])


@pytest.mark.parametrize("way", ["store", "mirror"])
def test_a_server_that_falls_silent(way, s3, s3_environment, timed, model, data, monkeypatch):
    short_limits(monkeypatch, NEVER)
    with LyingProxy(s3_environment) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        options = {"keep": kept.Keep(last=1), "gc": "0s", "keep_local": False}
        checkpoint, longest = timed(**{way: s3}, **options)
        model.fit(*data, epochs=1, verbose=0, callbacks=[checkpoint])
        assert len(kept.open_store(s3).versions("m")) == 1
        longest.clear()
        falls = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, _: epoch and setattr(proxy, "lie", lambda _: "hang")
        )
        model.fit(*data, epochs=3, verbose=0, callbacks=[falls, checkpoint])
        assert max(longest.values()) < LONGEST, longest
        proxy.over.set()


def test_what_is_silent_already_is_not_asked_again(silent, monkeypatch):
    bucket = open_bucket(silent)
    assert not reach.answers(bucket, PATIENCE)  # its request stays under way
    monkeypatch.setattr(reach, "within", pytest.fail)
    assert not reach.answers(bucket, PATIENCE)

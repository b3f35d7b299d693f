from __future__ import annotations

import os

import pytest

import kept
from kept.watch import renames, watcher
from kept.watch.cursor import held, store_id
from kept.watch.events import KINDS, Wanted
from kept.watch.feed import Feed
from kept.watch.target import Outcome, Result, Stop
from kept.watch.watcher import Watcher
from kept.watch.webhook import Webhook
from tests.watch.receiver import SECRET, Receiver


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch, tmp_path):
    """No pause between attempts, no power cut, no proxy, and a home of its own."""
    monkeypatch.setattr(watcher, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(renames, "STEADY", 0.0)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "KEPT_WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path):
    found = kept.open_store(tmp_path / "store")
    found.create()
    return found


@pytest.fixture
def receiver():
    with Receiver() as found:
        yield found


@pytest.fixture
def put(tmp_path):
    """Log a version with new content."""
    numbers = iter(range(1000))

    def log(store, name="m", **options):
        path = tmp_path / "given.bin"
        path.write_bytes(b"%d" % next(numbers))
        return store.log_artifact(name, path, capture=False, **options)

    return log


class Noted:
    """A target that notes what it gets, and answers with the outcomes of a test."""

    kind = "noted"
    attempts = None

    def __init__(self):
        self.got, self.outcomes = [], []

    def send(self, happening, *, again):
        self.got.append((happening, again))
        return self.outcomes.pop(0) if self.outcomes else Outcome(Result.SENT)

    @property
    def texts(self):
        return [happening.text() for happening, _ in self.got]


@pytest.fixture
def noted():
    return Noted()


@pytest.fixture
def look(tmp_path):
    """Let a watcher look once, as a process that is started and ends; return its counts."""

    def once(
        store, target, *, kinds=KINDS, names=None, aliases=None, path=None, from_start=False,
        restart=(),
    ):  # fmt: skip
        wanted = Wanted(frozenset(kinds), names, aliases)
        with held(store, names or "*", str(path or tmp_path / "cursor.json")) as cursor:
            found = Watcher(Feed(store, wanted), cursor, target, Stop())
            found.begin(from_start=from_start, restart=restart)
            found.once()
            return found.counts

    return once


@pytest.fixture
def webhook(receiver, tmp_path):
    from kept.watch.secrets import secrets_in

    secret = tmp_path / "secret"
    secret.write_text(SECRET)

    def make(store, path="/hook", **options):
        place = store.location, store_id(store)
        return Webhook(receiver.endpoint + path, secrets_in(str(secret)), place, **options)

    return make

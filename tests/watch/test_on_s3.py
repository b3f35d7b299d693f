"""A watcher of a store in object storage, also while the storage is away."""

from __future__ import annotations

import pytest

import kept
from kept.watch.target import Stop
from kept.watch.watcher import Watcher


@pytest.fixture
def remote(s3):
    found = kept.open_store(s3)
    found.create()
    return found


def test_events_arrive_from_s3(remote, put, noted, look):
    look(remote, noted)
    other = kept.open_store(remote.location)  # another process
    put(other, aliases=["prod"])
    other.version("m:v0").log_metrics({"acc": 0.5})
    for _ in range(2):
        look(kept.open_store(remote.location), noted)
    assert [h.kind for h, _ in noted.got] == ["commit", "alias", "metric"]


def test_a_rename_on_s3(remote, put, noted, look):
    put(remote, "a")
    look(remote, noted)
    remote.rename("a", "b")
    remote.rename("b", "c")
    put(remote, "c")
    look(kept.open_store(remote.location), noted, kinds=["commit"])
    assert [h.reference for h, _ in noted.got] == ["c:v1"]


def test_an_outage_of_the_store_is_one_notice(proxy, s3, quick, put, noted, look, capsys):
    store = kept.open_store(s3)
    store.create()
    looks = []

    class Stops(Stop):
        """Counts the pauses between looks; the server comes back after some."""

        def wait(self, seconds):
            looks.append(seconds)
            if len(looks) == 2:
                proxy.fault = lambda method, path: "away"
            elif len(looks) == 4:
                proxy.fault = lambda method, path: None
                put(kept.open_store(s3))
            elif len(looks) == 6:
                self.set()

    from kept.watch.cursor import Cursor, store_id
    from kept.watch.events import Wanted
    from kept.watch.feed import Feed

    cursor = Cursor(store_id(store), "*")
    watcher = Watcher(Feed(store, Wanted(frozenset({"commit"}))), cursor, noted, Stops())
    watcher.begin(from_start=False)
    watcher.run(0.01)
    assert [h.reference for h, _ in noted.got] == ["m:v0"]
    assert capsys.readouterr().err.count("the store cannot be read now") == 1

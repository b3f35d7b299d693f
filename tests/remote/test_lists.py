"""A LIST that is answered with something else than a list never counts as an empty list."""

from __future__ import annotations

import os

import pytest

import kept
from kept.bucket.object_storage import listing
from kept.bucket.object_storage.bucket import ObjectBucket
from kept.errors import Unreachable
from tests.helpers import write
from tests.servers.lying import LyingProxy

LIES = ["200err", "html", "blank"]


@pytest.fixture
def server(s3_environment, monkeypatch):
    with LyingProxy(s3_environment) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.endpoint)
        yield found


class Lying:
    """Answers a number of lists, below a prefix, with a fault; all of them if the number is 0."""

    def __init__(self, fault, count=1, below=""):
        self.fault, self.count, self.below, self.hits = fault, count, below, 0

    def __call__(self, asked):
        if asked.kind != "LIST" or self.below not in asked.key:
            return None
        if self.count and self.hits >= self.count:
            return None
        self.hits += 1
        return self.fault


@pytest.fixture
def store(server, s3, tmp_path):
    store = kept.open_store(s3)
    for n in range(3):
        store.log_artifact("m", write(tmp_path / "f", os.urandom(100_000) + b"%d" % n))
    return store


USES = {
    "verify": lambda store: store.verify().versions,
    "artifacts": lambda store: [a.name for a in store.artifacts()],
    "gc": lambda store: store.gc(grace="0s").doomed,
    "versions": lambda store: [v.version for v in store.versions("m")],
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("fault", LIES)
def test_one_lie_changes_no_result(server, store, s3, use, fault):
    honest = USES[use](kept.open_store(s3))
    for nth in range(1, 4):
        lie = Lying(fault, nth)  # so many lists in a row
        server.lie = lie
        assert USES[use](kept.open_store(s3)) == honest
        assert lie.hits
    server.lie = lambda _: None
    assert kept.open_store(s3).verify().problems == []


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("fault", LIES)
@pytest.mark.usefixtures("quick")
def test_a_server_that_always_lies_is_named(server, store, s3, use, fault):
    server.lie = Lying(fault, 0)
    with pytest.raises(Unreachable, match=r"something else than (the|a) list"):
        USES[use](kept.open_store(s3))
    server.lie = Lying(fault, 0, below="artifacts/")
    with pytest.raises(Unreachable, match=r"something else than (the|a) list"):
        USES[use](kept.open_store(s3))


@pytest.mark.parametrize("fault", LIES)
def test_an_empty_list_in_a_commit(server, store, s3, tmp_path, fault):
    for name in ("m", "new"):
        for nth in range(1, 5):
            server.lie = Lying(fault, nth)
            store.log_artifact(name, write(tmp_path / "f", os.urandom(1000)))
    server.lie = lambda _: None
    report = kept.open_store(s3).verify()
    assert (report.versions, report.problems) == (11, [])


@pytest.fixture
def short(monkeypatch):
    """Answers of four keys, and lists that count as one answer up to three."""
    monkeypatch.setattr(listing, "_ONE_ANSWER", 4)
    monkeypatch.setattr("tests.servers.lying._LyingHandler._do_pass", _in_answers_of_four)


def _in_answers_of_four(handler, body):
    if "list-type" in handler.path:
        handler.path += "&max-keys=4"
    return handler._answer(*handler._forward(body))


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("fault", ["200err", "blank"])
@pytest.mark.parametrize("count", [3, 8, 13])
def test_the_end_of_a_long_list(server, s3, count, fault):
    bucket = ObjectBucket(s3)
    keys = [f"a/{n:03}" for n in range(count)]
    folders = [f"b/{n:03}/x" for n in range(count)]
    for key in ["kept.json", *keys, *folders]:
        bucket.put(key, [b"x"])
    for nth in range(count // 4 + 3):

        def lie_once(number=nth):
            answers = iter(range(1000))
            is_it = lambda asked: asked.kind == "LIST" and next(answers) == number  # noqa: E731
            server.lie = lambda asked: fault if is_it(asked) else None

        lie_once()
        assert list(bucket.keys("a/")) == keys
        lie_once()
        assert list(bucket.keys("a/", "a/001")) == keys[2:]
        lie_once()
        assert list(bucket.folders("b/")) == [f"{n:03}" for n in range(count)]


@pytest.mark.usefixtures("short")
def test_keys_that_vanish_while_they_are_listed(s3, server):
    bucket = ObjectBucket(s3)
    for n in range(12):
        bucket.put(f"a/{n:02}", [b"x"])
    bucket.put("kept.json", [b"x"])
    found = []
    for key in bucket.keys("a/"):
        found.append(key)
        bucket.delete(key)
    assert found == [f"a/{n:02}" for n in range(12)]
    assert list(bucket.keys("a/")) == []


def test_an_honest_empty_list_costs_one_request_at_the_top(server, store):
    server.asked.clear()
    assert list(store.bucket.keys("gc/")) == []
    assert len(server.asked) == 1
    server.asked.clear()
    assert (
        list(store.bucket.keys("artifacts/m/log/", "artifacts/m/log/" + "0" * 19 + "3.json")) == []
    )
    assert len(server.asked) == 1


def test_a_place_without_a_store_is_empty(server, s3):
    bucket = ObjectBucket(s3)
    assert list(bucket.keys("")) == list(bucket.keys("gc/")) == list(bucket.folders("")) == []
    bucket.put("other/key", [b"x"])
    assert list(bucket.keys("gc/")) == list(bucket.keys("z/y/")) == []

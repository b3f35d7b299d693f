"""What a server refuses to send is unread: no damage, and the check of the rest continues."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner

import kept
from kept.cli.main import cli
from kept.errors import AccessDenied, KeptError, RemoteError
from tests.helpers import write
from tests.servers.lying import LyingProxy

REFUSALS = ["403", "412", "html", "200err", "blank"]


class Refusing:
    """A fault for requests whose key has a text in it: the first count of them, or all."""

    def __init__(self, fault, text, count=0, kind="GET"):
        self.fault, self.text, self.count, self.kind, self.hits = fault, text, count, kind, 0

    def __call__(self, asked):
        if asked.kind != self.kind or self.text not in asked.key:
            return None
        self.hits += 1
        return self.fault if not self.count or self.hits <= self.count else None


@pytest.fixture
def server(s3_environment, monkeypatch):
    with LyingProxy(s3_environment) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.endpoint)
        yield found


@pytest.fixture
def store(server, s3, tmp_path):
    store = kept.open_store(s3)
    for n in range(3):
        store.log_artifact("m", write(tmp_path / "f", os.urandom(1000) + b"%d" % n))
    return store


def blob_of(store, reference):
    (chunk,) = store.version(reference).files[0].chunks
    return f"blobs/{chunk.blob[:2]}/{chunk.blob}"


def kept_verify(s3, *words):
    return CliRunner().invoke(cli, ["--store", s3, "verify", *words])


@pytest.mark.parametrize("fault", [*REFUSALS, "404"])
@pytest.mark.parametrize("what", ["blobs/", "manifests/", "m/log/"])
def test_one_refusal_is_asked_again(server, store, fault, what):
    server.lie = Refusing(fault, what, 1)
    assert store.verify().ok
    assert server.lie.hits > 1


@pytest.mark.parametrize("fault", REFUSALS)
def test_a_refused_blob_is_named_as_unread(server, store, s3, fault):
    key = blob_of(store, "m:v1")
    server.lie = Refusing(fault, key)
    report = store.verify()
    assert (report.problems, report.ok, report.blobs) == ([], False, 3)
    assert [(p.where, p.key) for p in report.unread] == [("m:v1", key)]
    assert f"{key} could not be read: {s3}: " in report.unread[0].message
    answer = kept_verify(s3)
    first, last = answer.stdout.splitlines()
    assert first.startswith(f"m:v1: {key} could not be read: ")
    assert last == (
        "3 versions, 3.0 kB read: no damage in what was read; 1 key could not be read, and nothing "
        "is known about it"
    )
    assert answer.exit_code == 1
    with pytest.raises(RemoteError, match="could not be read"):
        store["m:v1"].verify()


@pytest.mark.parametrize(
    "what", ["manifests/", "/log/00000000000000000002.json", "/outbox/", "/gc/"]
)
def test_a_refused_key_of_another_kind(server, store, what):
    from kept.store.log.fence import encode_list
    from kept.store.receipts import Receipts

    Receipts(store.bucket, "s3://elsewhere/mirror").confirm("m", 3, 2)
    store.bucket.put("gc/20200101T000000Z-old.json", [encode_list(["blobs/00/" + "0" * 64])])
    (key, *_) = (key for key in store.bucket.keys("") if what in f"/{key}")
    server.lie = Refusing("403", key)
    report = store.verify()
    assert report.problems == []
    assert {p.key for p in report.unread} == {key}
    assert "do not allow to read" in report.unread[0].message
    assert report.blobs >= 2


def test_damage_beside_what_is_unread(server, store, s3):
    store.bucket.delete(blob_of(store, "m:v0"))
    server.lie = Refusing("403", blob_of(store, "m:v2"))
    answer = kept_verify(s3)
    assert answer.exit_code == 4
    assert "1 problem in what was read; 1 key could not be read" in answer.stdout
    found = json.loads(kept_verify(s3, "--json").stdout)
    assert [p["where"] for p in found["problems"]] == ["m:v0"]
    assert [p["where"] for p in found["unread"]] == ["m:v2"]
    assert found["ok"] is False


@pytest.mark.parametrize("fault", ["403", "404", "412"])
def test_a_refused_list_is_an_error(server, store, s3, fault):
    server.lie = Refusing(fault, "/manifests/", 1, kind="LIST")
    assert store.verify().ok
    server.lie = Refusing(fault, "/manifests/", kind="LIST")
    with pytest.raises(KeptError) as caught:
        store.verify()
    assert isinstance(caught.value, RemoteError)
    assert kept_verify(s3).exit_code == 1


def test_credentials_that_expire_end_the_check(server, store):
    blobs = Refusing("403", "blobs/")
    server.lie = lambda asked: "403" if blobs.hits else blobs(asked)
    with pytest.raises(AccessDenied):
        store.verify()


def test_a_key_that_exists_and_is_not_sent(server, store):
    """A cache before the bucket remembers that the key was missing."""
    key = blob_of(store, "m:v1")
    server.lie = Refusing("404", key)
    report = store.verify()
    assert (report.problems, [p.key for p in report.unread]) == ([], [key])
    server.lie = lambda asked: "404" if asked.key.endswith(key) else None
    report = store.verify()
    assert ([p.key for p in report.problems], report.unread) == ([key], [])


def damaged(store, key):
    data = bytes(store.bucket.get(key))
    store.bucket.put(key, [data[:100] + bytes([data[100] ^ 1]) + data[101:]])


@pytest.mark.parametrize("what", ["blobs/", "manifests/", "/log/00000000000000000002.json"])
def test_damage_of_a_key_whose_length_is_refused(server, store, s3, what):
    """GET works, and shows the damage."""
    (key, *_) = (key for key in store.bucket.keys("") if what in key)
    damaged(store, key)
    server.lie = Refusing("403", key, kind="HEAD")
    report = store.verify()
    assert ({p.key for p in report.problems}, report.unread) == ({key}, [])
    assert kept_verify(s3).exit_code == 4


def test_a_refused_length_is_no_refused_value(server, store):
    server.lie = Refusing("403", "", kind="HEAD")
    assert store.verify().ok


def test_damage_of_a_blob_that_is_refused_later(server, store):
    """It is read and found damaged; what looks for the reason is refused."""
    key = blob_of(store, "m:v1")
    damaged(store, key)
    gets = []
    server.lie = lambda asked: (
        "403" if asked.key.endswith(key) and (gets.append(asked) or len(gets) > 2) else None
    )
    report = store.verify()
    assert ([(p.where, p.key) for p in report.problems], report.unread) == ([("m:v1", key)], [])
    assert len(gets) > 2


def test_a_refused_folded_page(server, store):
    key = store.logs.of("m").pages.folded.key(2)
    store.bucket.put(key, [b"?"])
    assert [p.key for p in store.verify().problems] == [key]
    server.lie = Refusing("403", key)
    report = store.verify()
    assert (report.problems, [p.key for p in report.unread]) == ([], [key])

"""A server that accepts connections and never answers costs seconds, and the training nothing."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from click.testing import CliRunner

from kept.bucket.object_storage import breaker, client
from kept.bucket.object_storage.breaker import Breaker
from kept.bucket.object_storage.bucket import ObjectBucket
from kept.cli import waiting
from kept.cli.main import cli
from kept.errors import Unreachable
from kept.parallel import mapped
from tests.remote.silence import SILENCE, silent

__all__ = ["silent"]  # a fixture


def test_the_limits_add_up_to_half_a_minute():
    assert timedelta(seconds=10) >= client._CONNECT
    assert client._RETRIES_FOR + max(client._SILENCE, client._CONNECT) <= timedelta(seconds=30)


@pytest.mark.parametrize(
    "call",
    [
        lambda bucket: bucket.get("kept.json"),
        lambda bucket: bucket.size("kept.json"),
        lambda bucket: bucket.put("key", [b"x"]),
        lambda bucket: bucket.put_if_absent("key", [b"x"]),
        lambda bucket: list(bucket.keys("gc/")),
        lambda bucket: list(bucket.folders("artifacts/")),
        lambda bucket: bucket.delete("key"),
    ],
)
def test_each_call_ends(silent, call):
    bucket = ObjectBucket(silent)
    with pytest.raises(Unreachable, match="did not answer in time"):
        call(bucket)
    with pytest.raises(Unreachable, match="sends no request for"):
        call(ObjectBucket(silent))


def test_after_a_pause_the_server_is_asked_again(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(breaker.time, "monotonic", lambda: now[0])
    found = Breaker("s3://bucket/p")
    pauses = []
    for _ in range(7):
        found.check()
        assert not found.timed_out(now[0])
        assert not found.timed_out(now[0])  # a second thread
        begun = now[0]
        while True:
            try:
                found.check()
                break
            except Unreachable:
                now[0] += 1
        pauses.append(now[0] - begun)
    assert pauses == [5, 10, 20, 40, 60, 60, 60]
    found.answered()
    assert found.timed_out(now[0] - 1)  # another request was answered meanwhile
    found.check()


def test_a_stalled_connection_is_no_silent_server(proxy, s3, monkeypatch):
    monkeypatch.setattr(client, "_SILENCE", timedelta(seconds=SILENCE))
    monkeypatch.setattr(client, "_RETRIES_FOR", timedelta(seconds=SILENCE / 2))
    bucket = ObjectBucket(s3)
    bucket.put("a", [b"x"])
    proxy.seconds = 2 * SILENCE
    stalled = iter(["slow"])
    proxy.fault = lambda _, path: next(stalled, None) if path.endswith("/a") else None

    def read(key):
        if key == "b":
            time.sleep(SILENCE / 2)
            return bucket.size("b")
        return bytes(bucket.get(key))

    assert list(mapped(read, ["a", "b"], 2)) == [b"x", None]


def test_a_command_says_what_it_waits_for(silent, monkeypatch):
    monkeypatch.setattr(waiting, "_NOTICE_SECONDS", 0.3)
    result = CliRunner().invoke(cli, ["--store", silent, "ls"])
    assert result.exit_code == 1
    assert f"waiting for {silent}" in result.stderr
    assert "did not answer in time" in result.stderr
    assert result.stdout == ""

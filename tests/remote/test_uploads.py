"""A large upload that gets no answer ends within a limit by its size; a slow line is no silence."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from click.testing import CliRunner

from kept.bucket.object_storage import breaker, client, uploads
from kept.bucket.object_storage.bucket import ObjectBucket
from kept.bucket.object_storage.client import AT_ONCE, SLOWEST, upload_seconds
from kept.bucket.object_storage.uploads import Uploads
from kept.cli import waiting
from kept.cli.main import cli
from kept.errors import Unreachable
from tests.servers.lying import LyingProxy

LIMIT = 0.6
VALUE = os.urandom(1_500_000)
MIB = 1024 * 1024


@pytest.fixture
def lying(s3, s3_environment, monkeypatch):
    """A proxy, and a bucket behind it whose uploads of 1.5 MB have a short limit."""
    monkeypatch.setattr(client, "_SILENCE", timedelta(seconds=LIMIT))
    monkeypatch.setattr(client, "_RETRIES_FOR", timedelta(seconds=LIMIT / 2))
    monkeypatch.setattr(client, "SLOWEST", 1e12)
    monkeypatch.setattr(breaker, "_breakers", {})
    with LyingProxy(s3_environment) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy, ObjectBucket(s3)
        proxy.over.set()


def kinds(proxy):
    return [asked.kind for asked, _ in proxy.asked]


@pytest.mark.parametrize("size", [MIB + 1, 4 * MIB, 5 * MIB, 16 * MIB + 4096, 64 * MIB])
def test_all_uploads_at_once_succeed_at_1_megabyte_a_second(size):
    assert AT_ONCE * size / SLOWEST <= upload_seconds(size) - 20
    assert size / upload_seconds(size) < 0.15e6  # and one alone if the line is much slower


def test_the_documented_limits():
    assert round(upload_seconds(5 * MIB)) == 62
    assert round(upload_seconds(16 * MIB)) == 154


def test_an_upload_without_an_answer_ends_and_other_values_arrive(lying):
    proxy, bucket = lying
    proxy.lie = lambda asked: "hang" if asked.key.endswith("large") else None
    with pytest.raises(Unreachable, match=r"upload of 1\.5 MB, which kept sent alone.*'large'"):
        bucket.put("large", [VALUE])
    assert kinds(proxy) == ["PUT", "HEAD", "PUT"]
    with pytest.raises(Unreachable, match="sends no large upload for"):
        bucket.put("other", [VALUE])
    bucket.put("small", [b"x"])
    assert bucket.size("small") == 1


def test_a_server_that_answers_nothing_gets_no_second_upload(lying):
    proxy, bucket = lying
    proxy.lie = lambda _: "hang"
    with pytest.raises(Unreachable, match="did not answer in time"):
        bucket.put("large", [VALUE])
    assert kinds(proxy) == ["PUT", "HEAD"]


def test_an_upload_that_was_lost_once_is_sent_again(lying):
    proxy, bucket = lying
    faults = iter(["hang"])
    proxy.lie = lambda asked: next(faults, None) if asked.kind == "PUT" else None
    bucket.put("large", [VALUE])
    assert bytes(bucket.get("large")) == VALUE
    assert not bucket._upload._is_slow


def test_on_a_slow_line_uploads_go_one_by_one(lying, monkeypatch):
    proxy, bucket = lying
    proxy.seconds = 1.5 * LIMIT
    first = iter(["slow"] * AT_ONCE)  # the line is too slow for all of them
    proxy.lie = lambda asked: next(first, None) if asked.kind == "PUT" else None
    monkeypatch.setattr(uploads, "SLOWEST", 1e12)  # the speed at which they may go together again
    most, under_way, send = [], [], Uploads._send

    def counted(self, value, put):
        under_way.append(value.key)
        most.append(len(under_way))
        try:
            send(self, value, put)
        finally:
            under_way.remove(value.key)

    monkeypatch.setattr(Uploads, "_send", counted)
    bucket.put_many((f"k{n}", [VALUE, bytes([n])]) for n in range(AT_ONCE))
    bucket.put_many((f"l{n}", [VALUE, bytes([n])]) for n in range(4))
    assert [bucket.size(f"k{n}") for n in range(AT_ONCE)] == [len(VALUE) + 1] * AT_ONCE
    assert max(most) == AT_ONCE
    assert most[-4:] == [1] * 4
    monkeypatch.setattr(uploads, "SLOWEST", 0.0)
    bucket.put("m", [VALUE])
    assert not bucket._upload._is_slow


def test_a_command_repeats_what_it_waits_for(lying, s3, tmp_path, monkeypatch):
    proxy, _ = lying
    proxy.lie = lambda asked: "hang" if asked.kind == "PUT" and "/blobs/" in asked.key else None
    monkeypatch.setattr(waiting, "_NOTICE_SECONDS", 0.2)
    monkeypatch.setattr(waiting, "_AGAIN_SECONDS", 0.3)
    (tmp_path / "file").write_bytes(VALUE)
    result = CliRunner().invoke(cli, ["--store", s3, "put", "m", str(tmp_path / "file")])
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith(f"waiting for {s3} (")]
    assert len(lines) >= 2
    assert any(line.endswith("s so far, uploading 1.5 MB)") for line in lines)
    assert "did not answer in time to an upload" in result.stderr

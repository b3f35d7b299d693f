"""A server that accepts connections and never answers, and limits that end soon."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest

from kept.bucket.object_storage import breaker, client

SILENCE = 1.5  # seconds until a request fails


def short_limits(monkeypatch, silence=SILENCE):
    """Shorten the limits of requests; forget which servers were silent."""
    monkeypatch.setattr(client, "_SILENCE", timedelta(seconds=silence))
    monkeypatch.setattr(client, "_RETRIES_FOR", timedelta(seconds=SILENCE / 2))
    monkeypatch.setattr(breaker, "_breakers", {})


@pytest.fixture
def silent(s3_environment, monkeypatch):
    """The location of a store on a server that never answers; its limits are short."""
    short_limits(monkeypatch)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield "s3://bucket/silent"

"""Webhooks: signed, retried where that can help, and never to be mistaken for another event."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import urllib.parse

import pytest

from kept.errors import InvalidInput
from kept.watch import secrets
from kept.watch import webhook as webhooks
from kept.watch.target import Result, Stop
from kept.watch.webhook import Webhook, shown_url
from tests.watch.receiver import SECRET


def test_a_signed_request(store, put, look, webhook, receiver):
    put(store, aliases=["prod"], metadata={"note": "ä"})
    assert look(store, webhook(store), from_start=True).sent == 2
    commit, alias = receiver.received
    assert (commit.path, commit.headers["content-type"]) == ("/hook", "application/json")
    assert commit.is_signed()
    assert not commit.is_signed(b"another key")
    assert commit.event["id"] == commit.id != alias.id
    assert commit.event["data"]["metadata"]["note"] == "ä"
    assert "kept-redelivery" not in commit.headers


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 301, 302])
def test_what_a_server_refuses_is_given_up(store, put, look, webhook, receiver, capsys, status):
    put(store)
    put(store)
    receiver.answer = lambda request: (
        (status, {"location": receiver.endpoint + "/other"})
        if request.event["data"]["index"] == 0
        else 200
    )
    counts = look(store, webhook(store), from_start=True)
    assert (counts.sent, counts.given_up) == (1, 1)
    assert receiver.texts == ["m:v0 commit", "m:v1 commit"]
    shown = capsys.readouterr().err
    assert f"m:v0 commit is given up: {receiver.endpoint}/… answered {status}" in shown
    assert "as the test asks" in shown


@pytest.mark.parametrize("status", [407, 408, 425, 429, 500, 503, 599, None])
def test_an_outage_is_waited_for_over_restarts(store, put, look, webhook, receiver, status):
    put(store)
    put(store)
    receiver.answer = lambda request: status
    for _ in range(3):
        counts = look(store, webhook(store), from_start=True)
        assert (counts.sent, counts.given_up, counts.waiting) == (0, 0, 1)
    receiver.answer = lambda request: 204
    assert look(store, webhook(store)).sent == 2
    assert receiver.texts == ["m:v0 commit"] * 4 + ["m:v1 commit"]
    assert [request.is_marked for request in receiver.received] == [False, True, True, True, False]
    assert len({request.id for request in receiver.received}) == 2


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("1e9", None), ("soon", None)])
def test_retry_after(store, put, noted, look, webhook, receiver, header, seconds):
    put(store)
    look(store, noted, from_start=True)
    [(happening, _)] = noted.got
    receiver.answer = lambda request: (503, {"retry-after": header})
    outcome = webhook(store).send(happening, again=False)
    assert (outcome.result, outcome.after) == (Result.FAILED, seconds)


def test_no_server_at_all(store, put, noted, look):
    put(store)
    look(store, noted, from_start=True)
    outcome = Webhook("http://127.0.0.1:9/secret/path", [], ("here", "1")).send(
        noted.got[0][0], again=False
    )
    assert outcome.result is Result.FAILED
    assert "127.0.0.1" in outcome.what
    assert "secret" not in outcome.what


def test_a_slow_server(store, put, noted, look, webhook, receiver):
    ended = threading.Event()
    receiver.answer = lambda request: 200 if ended.wait(20) else 500
    put(store)
    look(store, noted, from_start=True)
    outcome = webhook(store, timeout=0.05).send(noted.got[0][0], again=False)
    ended.set()
    assert outcome.result is Result.FAILED


def test_a_proxy_of_the_environment(store, put, noted, look, receiver, monkeypatch):
    put(store)
    look(store, noted, from_start=True)
    monkeypatch.setenv("http_proxy", receiver.endpoint)
    monkeypatch.delenv("no_proxy", raising=False)
    sent = Webhook("http://far.invalid/hook", [], ("here", "1")).send(noted.got[0][0], again=False)
    assert sent.result is Result.SENT
    assert receiver.received[0].path == "http://far.invalid/hook"


def _login(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_the_user_and_password_of_a_url(store, put, noted, look, receiver):
    put(store)
    look(store, noted, from_start=True)
    url = receiver.endpoint.replace("http://", "http://ann:p%40%C3%A9@") + "/hook?x=1"
    sent = Webhook(url, [], ("here", "1")).send(noted.got[0][0], again=False)
    assert sent.result is Result.SENT
    [request] = receiver.received
    assert request.path == "/hook?x=1"
    assert request.headers["authorization"] == _login("ann:p@é")
    assert "ann" not in request.headers["host"]


def test_the_user_and_password_of_a_proxy(store, put, noted, look, receiver, monkeypatch):
    put(store)
    look(store, noted, from_start=True)
    place = receiver.endpoint.removeprefix("http://")
    monkeypatch.delenv("no_proxy", raising=False)
    for proxy in (f"http://ann:fake@{place}", place):
        monkeypatch.setenv("http_proxy", proxy)
        webhook = Webhook("http://far.invalid/hook", [], ("here", "1"))
        assert webhook.send(noted.got[0][0], again=False).result is Result.SENT
    headers = [request.headers.get("proxy-authorization") for request in receiver.received]
    assert headers == [_login("ann:fake"), None]
    assert not any("authorization" in request.headers for request in receiver.received)


@pytest.mark.parametrize("proxy", ["socks5://ann:fake@127.0.0.1:1", "http://[x", "//x"])
def test_a_proxy_that_cannot_be_used(monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(InvalidInput, match=r"The proxy in \$http_proxy") as caught:
        Webhook("http://far.invalid/hook", [], ("here", "1"))
    assert "fake" not in str(caught.value)


@pytest.fixture
def drip():
    """A server that sends a byte of its answer now and then, without an end; return its URL."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
                while not ended.wait(0.01):
                    connection.sendall(b"y")

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/hook"
        ended.set()
        thread.join()


def test_a_server_that_never_ends_its_answer(store, put, noted, look, drip):
    put(store)
    look(store, noted, from_start=True)
    slow = Webhook(drip, [], ("here", "1"), timeout=0.3)
    outcome = slow.send(noted.got[0][0], again=False)
    assert outcome.result is Result.FAILED
    assert "no answer in 0.3 s" in outcome.what


def test_a_watcher_that_ends_waits_for_no_slow_server(store, put, noted, look, drip, monkeypatch):
    put(store)
    look(store, noted, from_start=True)
    monkeypatch.setattr(webhooks, "_PATIENCE", 0.1)
    stop = Stop()
    stop.set()
    slow = Webhook(drip, [], ("here", "1"), timeout=600.0, stop=stop)
    assert slow.send(noted.got[0][0], again=False).result is Result.STOPPED


@pytest.mark.parametrize(
    "url", ["", "host/hook", "ftp://host/x", "http://", "http://a b/", "http://[x"]
)
def test_what_is_no_url(url):
    with pytest.raises(InvalidInput, match="begins with https://"):
        Webhook(url, [], ("here", "1"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:fake@host:8443/services/T0/B0?x=1", "https://host:8443/…"),
        ("http://host", "http://host"),
        ("http://host/", "http://host"),
    ],
)
def test_messages_have_no_secret_part_of_a_url(url, shown):
    assert shown_url(url) == shown
    for part in (urllib.parse.urlsplit(url).password, "services"):
        assert part is None or part not in shown_url(url)


def test_several_secrets_for_a_rotation(tmp_path, monkeypatch):
    path = tmp_path / "secret"
    path.write_text(
        f"{SECRET}\nsome other text of 16 bytes".replace(
            "some other text of 16 bytes", "another-text-of-more-bytes"
        )
    )
    keys = secrets.secrets_in(str(path))
    assert keys == [b"a fake secret of the tests", b"another-text-of-more-bytes"]
    assert len(secrets.signatures(keys, "id", 1, b"{}").split()) == 2
    monkeypatch.setenv("KEPT_WEBHOOK_SECRET", SECRET)
    assert secrets.secrets_in(None) == keys[:1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no secret"),
        ("short", "5 bytes"),
        ("whsec_%%%", "no base64"),
        ("whsec_YQ==", "1"),
        ("whsec_ä", "no base64"),
    ],
)
def test_secrets_that_cannot_be_used(tmp_path, text, said):
    path = tmp_path / "secret"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=said) as caught:
        secrets.secrets_in(str(path))
    assert not text or text not in str(caught.value).replace("has 5 bytes", "")


def test_the_example_of_the_specification():
    """https://github.com/standard-webhooks/standard-webhooks, the libraries' own test."""
    body = json.dumps({"test": 2432232314}).encode()
    signed = secrets.signatures(
        [__import__("base64").b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        body,
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

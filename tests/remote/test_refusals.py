"""What a server refuses is reported by its name, up to what a user has to set."""

from __future__ import annotations

import re

import pytest

from kept.bucket.object_storage.bucket import ObjectBucket
from kept.errors import AccessDenied, RemoteError, Unreachable
from tests.servers.proxy import _ERROR, FirstTime, Proxy, _Handler

_DENIED = "<Error><Key>%s</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class _Refusing(_Handler):
    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _Handler._any  # noqa: N815

    def _do_region(self, _):
        text = "<Error><Code>PermanentRedirect</Code><Message>Use another.</Message></Error>"
        return self._answer(301, [("x-amz-bucket-region", "eu-west-1")], text.encode())

    def _do_refuse(self, _):
        status, code, headers = self.proxy.answer
        said = "The region is wrong; expecting 'eu-west-1'" if "Malformed" in code else "No."
        return self._answer(status, headers, (_ERROR % (code, said)).encode())

    def _do_denied(self, body):
        key = body.decode().partition("<Key>")[2].partition("</Key>")[0]
        return self._answer(200, [], f"<DeleteResult>{_DENIED % key}</DeleteResult>".encode())


@pytest.fixture
def server(s3_environment, monkeypatch):
    with Proxy(s3_environment, _Refusing) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.endpoint)
        yield found


def test_the_region_of_the_bucket_is_named(server, s3):
    server.fault = lambda *_: "region"
    with (
        server.counted() as requests,
        pytest.raises(RemoteError, match="Set AWS_REGION=eu-west-1") as caught,
    ):
        ObjectBucket(s3).get("kept.json")
    assert type(caught.value) is RemoteError
    asked = {"authorization" in request.headers for request in requests}
    assert False in asked  # for the region, without credentials


def test_a_missing_permission_to_delete(server, s3):
    server.fault = lambda method, _: "denied" if method == "POST" else None
    with pytest.raises(AccessDenied, match=r"to delete\..*s3:DeleteObject.*Access Denied"):
        ObjectBucket(s3).delete("key")


@pytest.mark.usefixtures("quick")
def test_a_conflict_on_a_plain_put(server, s3):
    bucket = ObjectBucket(s3)
    server.fault = FirstTime("409", "PUT", "key")
    bucket.put("key", [b"x"])
    assert bytes(bucket.get("key")) == b"x"
    server.fault = lambda method, _: "409" if method == "PUT" else None
    with pytest.raises(Unreachable, match="changing the same key"):
        bucket.put("key", [b"y"])


_CALLS = {
    "read": lambda bucket: bucket.get("key"),
    "head": lambda bucket: bucket.size("key"),
    "write": lambda bucket: bucket.put("key", [b"x"]),
    "create": lambda bucket: bucket.put_if_absent("key", [b"x"]),
    "list": lambda bucket: list(bucket.keys("folder/")),
    "delete": lambda bucket: bucket.delete("key"),
}
_REGION = [("x-amz-bucket-region", "eu-west-1")]
_NO_PERMISSION = r"Ask for this permission \(S3: s3:DeleteObject\)"
_SAYS = [
    (301, "PermanentRedirect", _REGION, RemoteError, "Set AWS_REGION=eu-west-1"),
    (307, "TemporaryRedirect", _REGION, RemoteError, "Set AWS_REGION=eu-west-1"),
    (307, "TemporaryRedirect", [], RemoteError, "Set AWS_REGION to the region of the bucket"),
    (400, "AuthorizationHeaderMalformed", [], RemoteError, "Set AWS_REGION=eu-west-1"),
    (403, "RequestTimeTooSkewed", [], AccessDenied, "clock is wrong.*Set the clock"),
    (503, "SlowDown", [], Unreachable, "fewer requests.*with fewer processes at once|too busy"),
    (429, "TooManyRequests", [], Unreachable, "fewer requests.*with fewer processes at once"),
    (400, "ExpiredToken", [], AccessDenied, "credentials have expired. Renew them"),
    (403, "ExpiredToken", [], AccessDenied, "credentials have expired. Renew them"),
]  # fmt: skip


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("call", _CALLS)
@pytest.mark.parametrize(("status", "code", "headers", "error", "says"), _SAYS)
def test_each_refusal_says_what_to_do(
    server, s3, monkeypatch, call, status, code, headers, error, says
):
    monkeypatch.setattr("kept.bucket.object_storage.bucket.RETRIES", 1)
    server.answer, server.fault = (status, code, headers), lambda *_: "refuse"
    with pytest.raises(RemoteError) as caught:
        _CALLS[call](ObjectBucket(s3))
    assert type(caught.value) is error, caught.value
    assert re.search(says, str(caught.value)), caught.value


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_gc_without_the_permission_to_delete(server, s3, method):
    bucket = ObjectBucket(s3)
    server.answer = 403, "AccessDenied", []
    server.fault = lambda asked, _: "refuse" if asked in ("POST", method) else None
    with pytest.raises(AccessDenied, match=_NO_PERMISSION):
        bucket.delete("key")
    with pytest.raises(AccessDenied, match=_NO_PERMISSION):  # the probe of a first write, too
        bucket.put_if_absent("key", [b"x"])

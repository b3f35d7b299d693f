"""What a server refuses is reported by its name, up to what a user has to set."""

from __future__ import annotations

import pytest

from kept.bucket.object_storage.bucket import ObjectBucket
from kept.errors import AccessDenied, RemoteError, Unreachable
from tests.servers.proxy import FirstTime, Proxy, _Handler

_DENIED = "<Error><Key>%s</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class _Refusing(_Handler):
    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _Handler._any  # noqa: N815

    def _do_region(self, _):
        text = "<Error><Code>PermanentRedirect</Code><Message>Use another.</Message></Error>"
        return self._answer(301, [("x-amz-bucket-region", "eu-west-1")], text.encode())

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
    with pytest.raises(RemoteError, match="Set AWS_REGION=eu-west-1") as caught:
        ObjectBucket(s3).get("kept.json")
    assert type(caught.value) is RemoteError
    assert "authorization" not in server.requests[-1].headers  # asked without credentials


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

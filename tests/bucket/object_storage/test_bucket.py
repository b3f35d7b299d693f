"""The bucket in object storage: the contract, the probe, and errors that name the cause."""

from __future__ import annotations

import os
import traceback
from datetime import timedelta

import pytest

import kept
from kept.bucket.location import clean_location, is_remote
from kept.bucket.object_storage import bucket as object_bucket
from kept.bucket.object_storage import client as object_client
from kept.bucket.object_storage.bucket import ObjectBucket
from kept.bucket.object_storage.errors import error_of, scrub
from kept.errors import (
    AccessDenied,
    BucketNotFound,
    InvalidInput,
    KeyNotFound,
    RemoteError,
    Unreachable,
)
from tests.bucket.bucket_contract import BucketContract
from tests.conftest import KEY_ID, SECRET
from tests.servers.proxy import FirstTime


class TestObjectBucket(BucketContract):
    @pytest.fixture
    def bucket(self, s3):
        return ObjectBucket(s3)


def test_a_value_larger_than_one_part(s3, monkeypatch):
    monkeypatch.setattr(object_bucket, "_MULTIPART", 20 * 1024 * 1024)
    bucket = ObjectBucket(s3)
    value = bytes(range(256)) * 100_000
    bucket.put("large", [value])
    assert bucket.size("large") == len(value)
    assert bucket.get("large") == value
    assert bucket.get("large", 20_000_000, 500) == value[20_000_000:20_000_500]


def test_a_value_larger_than_a_range_is_read_by_several_requests_at_once(s3, proxy, monkeypatch):
    monkeypatch.setattr(object_bucket, "_RANGE", 1_000_000)
    bucket = ObjectBucket(s3)
    value = os.urandom(3_500_001)
    bucket.put("large", [value])
    bucket.put("small", [value[:1_000_000]])
    with proxy.counted() as made:
        assert bucket.get("large") == value
    ranges = sorted(r.received for r in made if 0 < r.received < len(value))
    assert ranges == [500_001, 1_000_000, 1_000_000, 1_000_000]
    assert len(made) <= 5  # the first one is broken off when its length is known
    with proxy.counted() as made:
        assert bucket.get("small") == value[:1_000_000]
    assert len(made) == 1
    assert bucket.get("large", 1_000, 2_100_000) == value[1_000:2_101_000]
    proxy.fault = FirstTime("reset", "GET", "large")
    assert bucket.get("large") == value
    assert proxy.fault.seen


def test_an_upload_over_a_slow_line_may_take_long_but_a_silent_server_is_asked_again(
    s3, proxy, monkeypatch
):
    monkeypatch.setattr(object_client, "_SILENCE", timedelta(seconds=1))
    bucket, value = ObjectBucket(s3), os.urandom(2_000_000)
    proxy.seconds = 2.5  # far more than silence may last
    proxy.fault = FirstTime("slow", "PUT", "large")
    with proxy.counted() as made:
        bucket.put("large", [value])
    assert [request.method for request in made] == ["PUT"]
    asked, first = [], FirstTime("slow", "GET", "large")
    proxy.fault = lambda *request: asked.append(request) or first(*request)
    assert bucket.get("large") == value
    assert len(asked) == 2
    monkeypatch.setattr(object_bucket, "RETRIES", 1)
    proxy.fault = lambda *_: "slow"
    with pytest.raises(Unreachable, match="did not answer in time"):
        ObjectBucket(s3).get("large")


def test_a_deletion_that_is_said_to_fail_is_looked_after(s3, proxy, monkeypatch):
    bucket = ObjectBucket(s3)
    bucket.put("a", [b"x"])
    proxy.fault = lambda method, path: "unknown" if method == "POST" else None
    bucket.delete("a")  # gone all the same
    assert bucket.size("a") is None
    monkeypatch.setattr(object_bucket, "RETRIES", 2)
    monkeypatch.setattr(ObjectBucket, "size", lambda *_: 1)  # and now it never is
    with pytest.raises(RemoteError, match="the request failed"):
        bucket.delete("a")


def test_the_probe_leaves_nothing_and_is_made_once(s3, monkeypatch):
    bucket = ObjectBucket(s3)
    probes = []
    real = ObjectBucket._refuses_a_second_creation
    monkeypatch.setattr(
        ObjectBucket, "_refuses_a_second_creation", lambda self: probes.append(1) or real(self)
    )
    for n in range(3):
        bucket.put_if_absent(f"k{n}", [b"x"])
    assert len(probes) == 1
    assert list(bucket.keys("")) == ["k0", "k1", "k2"]


def test_what_a_dead_probe_left_is_no_part_of_the_bucket(s3):
    bucket = ObjectBucket(s3)
    bucket.put("tmp/probe-1", [b"x"])
    assert list(bucket.keys("")) == list(bucket.folders("")) == []
    assert kept.open_store(s3).exists is False


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket//a/b//", "s3://bucket/a/b"),
        ("gs://bucket/p", "gs://bucket/p"),
        ("az://container/p", "az://container/p"),
        (
            "abfss://container@account.dfs.core.windows.net/p",
            "abfss://container@account.dfs.core.windows.net/p",
        ),
    ],
)
def test_locations(given, cleaned):
    assert is_remote(given)
    assert clean_location(given) == cleaned


@pytest.mark.parametrize(
    "given",
    [
        f"s3://{KEY_ID}:{SECRET}@bucket/p".replace("/S", "S"),
        f"s3://{KEY_ID}@bucket/p",
        f"s3://bucket/p?X-Amz-Signature={KEY_ID}",
        f"s3://bucket/p#{KEY_ID}",
        f"abfss://container:{KEY_ID}@account.dfs.core.windows.net/p",
        f"az://container/p?sig={KEY_ID}",
    ],
)
def test_credentials_in_a_location_are_refused_and_not_repeated(given):
    with pytest.raises(InvalidInput, match="holds no credentials") as caught:
        kept.open_store(given)
    shown = "".join(traceback.format_exception(caught.value))
    assert KEY_ID not in str(caught.value)
    assert "Secret" not in str(caught.value)
    assert "bucket" in shown or "container" in shown or "account" in shown


@pytest.mark.parametrize("given", ["s3://", "s3:///p", "s3://bucket/../other", "ftp://host/p"])
def test_locations_that_name_nothing(given):
    with pytest.raises(InvalidInput, match="Received"):
        kept.open_store(given)


def test_no_such_bucket_is_not_a_missing_key(s3_environment):
    bucket = ObjectBucket("s3://no-such-bucket-at-all/p")
    for ask in (
        lambda: bucket.get("a"),
        lambda: bucket.put("a", [b"x"]),
        lambda: bucket.put_if_absent("a", [b"x"]),
        lambda: list(bucket.keys("")),
        lambda: list(bucket.folders("")),
        lambda: kept.open_store("s3://no-such-bucket-at-all/p"),
    ):
        with pytest.raises(BucketNotFound, match="there is no such bucket"):
            ask()


def test_a_server_that_is_not_there(s3_environment, monkeypatch):
    monkeypatch.setattr(object_bucket, "RETRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="cannot be reached") as caught:
        kept.open_store("s3://bucket/p")
    shown = "".join(traceback.format_exception(caught.value))
    assert KEY_ID not in shown
    assert SECRET not in shown


def _answer(status, code, message=""):
    return (
        f"Generic S3 error: Error performing PUT http://h/b/k?sig=abc in 3ms - Server returned "
        f"non-2xx status code: {status}: <Error><Code>{code}</Code><Message>{message}</Message>"
        f"<AWSAccessKeyId>{KEY_ID}</AWSAccessKeyId></Error>"
    )


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        (_answer("400 Bad Request", "ExpiredToken"), AccessDenied, "have expired"),
        (_answer("403 Forbidden", "ExpiredTokenException"), AccessDenied, "have expired"),
        (_answer("403 Forbidden", "InvalidAccessKeyId"), AccessDenied, "not accepted"),
        (_answer("403 Forbidden", "SignatureDoesNotMatch"), AccessDenied, "not accepted"),
        (_answer("403 Forbidden", "RequestTimeTooSkewed"), AccessDenied, "clock"),
        (_answer("403 Forbidden", "AccessDenied"), AccessDenied, "do not allow"),
        (_answer("403 Forbidden", "Other"), AccessDenied, "do not allow"),
        (_answer("401 Unauthorized", ""), AccessDenied, "not accepted"),
        (_answer("404 Not Found", "NoSuchBucket"), BucketNotFound, "no such bucket"),
        (_answer("404 Not Found", "ContainerNotFound"), BucketNotFound, "no such bucket"),
        (_answer("503 Service Unavailable", "SlowDown"), Unreachable, "fewer requests"),
        (_answer("429 Too Many Requests", ""), Unreachable, "fewer requests"),
        (_answer("409 Conflict", "OperationAborted"), Unreachable, "changing the same key"),
        (_answer("403 Forbidden", "QuotaExceeded"), RemoteError, "quota"),
        (_answer("403 Forbidden", "InvalidObjectState"), RemoteError, "archive"),
        (_answer("403 Forbidden", "KMS.DisabledException"), AccessDenied, "encrypts"),
        (_answer("403 Forbidden", "AccountProblem"), AccessDenied, "blocked"),
        (_answer("400 Bad Request", "AuthorizationHeaderMalformed"), AccessDenied, "not accepted"),
        (
            _answer("400 Bad Request", "AuthorizationHeaderMalformed", "expecting 'eu-west-1'"),
            RemoteError,
            "AWS_REGION=eu-west-1",
        ),
        (
            _answer(
                "307 Temporary Redirect",
                "TemporaryRedirect</Code><Endpoint>b.s3.ap-south-2.amazonaws.com</Endpoint><Code>",
            ),
            RemoteError,
            "AWS_REGION=ap-south-2",
        ),
        ("Received redirect without LOCATION, this normally", RemoteError, "Set AWS_REGION to"),
        (
            "DeleteObjects request failed for key p/k: Access Denied (code: AccessDenied)",
            AccessDenied,
            "delete. Ask for this permission (S3: s3:DeleteObject)",
        ),
        ("Got invalid list response: ill-formed document", Unreachable, "a list of keys"),
        (_answer("500 Internal Server Error", ""), Unreachable, "too busy"),
        (_answer("418 Teapot", "Teapot"), RemoteError, "failed"),
        ("Generic S3 error: operation timed out", Unreachable, "in time"),
        ("Generic S3 error: HTTP error: error sending request", Unreachable, "reached"),
        ("Error performing PUT http://169.254.169.254/latest", AccessDenied, "no credentials"),
        ("Generic MicrosoftAzure error: Account must be specified", AccessDenied, "AZURE_"),
    ],
)
def test_errors_name_the_cause(text, error, says):
    found = error_of(text, "s3://bucket/p", "log/1")
    assert type(found) is error
    assert says in str(found)
    assert str(found).startswith("s3://bucket/p: ")
    assert KEY_ID not in str(found)
    assert "abc" not in str(found)


def test_secrets_of_the_environment_are_scrubbed(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=verysecretsignature")
    text = scrub(f"said {SECRET} and https://h/k?sv=1&sig=verysecretsignature&x=y of log/1")
    assert SECRET not in text
    assert "verysecret" not in text
    assert text.endswith("of log/1")


def test_a_missing_package_is_named():
    from tests.helpers import finish, start

    code = """
import sys; sys.modules["obstore"] = None
import kept
try: kept.open_store("s3://bucket/p")
except kept.KeptError as error: print(error)
"""
    [line] = finish(start(code))
    assert "pip install 'kept[s3]'" in line


def test_repr_and_location_hold_no_credentials(s3):
    store = kept.open_store(s3)
    bucket = store.bucket
    shown = f"{store!r} {bucket!r} {store.location} {vars(bucket)!r}"
    assert KEY_ID not in shown
    assert SECRET not in shown
    with pytest.raises(KeyNotFound):
        bucket.get("missing")

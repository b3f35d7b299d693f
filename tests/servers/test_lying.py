"""The proxy of the suite `remote` lies as its docstring says."""

from __future__ import annotations

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.servers.lying import LyingProxy


@pytest.fixture
def lying(s3, s3_environment):
    """A proxy, and a client of it with two objects in a bucket."""
    with LyingProxy(s3_environment) as proxy:
        once = Config(retries={"max_attempts": 0}, response_checksum_validation="when_required")
        client = boto3.client("s3", endpoint_url=proxy.endpoint, config=once)
        bucket = s3.split("/")[2]
        for key in ("a", "b"):
            client.put_object(Bucket=bucket, Key=key, Body=b"value of " + key.encode())
        yield proxy, client, bucket


def test_lists_and_values(lying):
    proxy, client, bucket = lying
    keys = {}
    for lie in (None, "stale", "empty", "truncated", "missing"):
        proxy.lie = lambda asked, lie=lie: lie
        listed = client.list_objects_v2(Bucket=bucket).get("Contents", [])
        keys[lie] = [item["Key"] for item in listed]
    assert keys.pop(None) == ["a", "b"]
    assert keys == {"stale": ["a"], "empty": [], "truncated": ["a"], "missing": ["a"]}
    proxy.others = {"a": b"value of b"}
    values = {}
    for lie in ("flip", "cut", "other"):
        proxy.lie = lambda asked, lie=lie: lie if asked.kind == "GET" else None
        values[lie] = client.get_object(Bucket=bucket, Key="a")["Body"].read()
    assert values["flip"] != b"value of a"
    assert len(values["flip"]) == 10
    assert (values["cut"], values["other"]) == (b"value", b"value of b")
    assert [asked.kind for asked, _ in proxy.asked] == ["PUT"] * 2 + ["LIST"] * 5 + ["GET"] * 3


def test_a_refusal_with_and_without_an_effect(lying):
    proxy, client, bucket = lying
    for lie, found in (("503", b"value of a"), ("503after", b"new")):
        proxy.lie = lambda asked, lie=lie: lie if asked.kind == "PUT" else None
        with pytest.raises(ClientError, match="SlowDown"):
            client.put_object(Bucket=bucket, Key="a", Body=b"new")
        assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == found

"""The mapping to Google Cloud Storage, against a small fake: no usable emulator exists.

What these tests show is the URL, the environment, the condition of a creation, and that the
contract holds as far as the fake behaves as GCS says it does.
"""

from __future__ import annotations

import base64
import json
import os

import pytest

import kept
from kept.bucket.object_storage.bucket import ObjectBucket
from kept.errors import AccessDenied, BucketNotFound, KeyExists
from tests.bucket.bucket_contract import BucketContract
from tests.helpers import tree, write
from tests.servers.fake_gcs import FakeGcs

TOKEN = "ya29.fakeFakeFakeFakeFakeTokenOfNobody"


@pytest.fixture
def gcs(monkeypatch):
    """A fake server, and the environment of its user."""
    for name in [name for name in os.environ if name.startswith("GOOGLE_")]:
        monkeypatch.delenv(name)
    with FakeGcs(TOKEN) as fake:
        monkeypatch.setenv("GOOGLE_BASE_URL", fake.endpoint)
        monkeypatch.setenv("GOOGLE_BEARER_TOKEN", TOKEN)
        yield fake


class TestGcs(BucketContract):
    @pytest.fixture
    def bucket(self, gcs):
        return ObjectBucket("gs://bucket/prefix")


def test_a_creation_asks_that_there_is_no_generation(gcs):
    bucket = ObjectBucket("gs://bucket/prefix")
    bucket.put_if_absent("a", [b"x"])
    put = [headers for method, name, headers in gcs.requests if name == "bucket/prefix/a"]
    assert [headers.get("x-goog-if-generation-match") for headers in put] == ["0"]
    bucket.put("b", [b"x"])
    assert "x-goog-if-generation-match" not in gcs.requests[-1][2]
    with pytest.raises(KeyExists):
        bucket.put_if_absent("a", [b"y"])


def test_a_store_on_gcs(gcs, tmp_path):
    store = kept.open_store("gs://bucket/prefix")
    data = os.urandom(3_000_000)
    for n in range(3):
        store.log_artifact("m", write(tmp_path / "f", data + b"%d" % n), aliases=["best"])
    fresh = kept.open_store("gs://bucket/prefix/")
    assert tree(fresh["m:best"].download(tmp_path / "out"))["f"] == data + b"2"
    assert fresh.verify().problems == []
    assert all(name.startswith("bucket/prefix/") for name in gcs.values)
    assert TOKEN not in repr(store) + store.location


def test_errors_name_the_cause(gcs, monkeypatch):
    with pytest.raises(BucketNotFound, match="no such bucket"):
        ObjectBucket("gs://other/p").put("a", [b"x"])
    gcs.token = "another"
    with pytest.raises(AccessDenied, match="not accepted") as caught:
        ObjectBucket("gs://bucket/p").put("a", [b"x"])
    assert TOKEN not in str(caught.value)
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "another")
    ObjectBucket("gs://bucket/p").put("a", [b"x"])


@pytest.mark.parametrize("name", ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT"])
def test_credentials_in_a_file(gcs, tmp_path, monkeypatch, name):
    """The file that the variable names is read; the error about a broken one does not quote it."""
    monkeypatch.delenv("GOOGLE_BEARER_TOKEN")
    secret = "fakeRefreshTokenFakeRefreshToken"
    path = write(tmp_path / "key.json", json.dumps({"type": "nobody", "key": secret}).encode())
    monkeypatch.setenv(name, str(path))
    with pytest.raises(kept.KeptError) as caught:
        ObjectBucket("gs://bucket/p").put("a", [b"x"])
    assert secret not in str(caught.value)
    assert gcs.requests == []


def test_a_service_account_signs_its_own_tokens(gcs, tmp_path, monkeypatch):
    """With the file that Google hands out for an account; who checks the signature is Google."""
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    from cryptography.hazmat.primitives import serialization as forms

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()
    )
    account = {"type": "service_account", "client_email": "someone@project.example",
               "private_key": key.decode(), "private_key_id": "1"}  # fmt: skip
    path = write(tmp_path / "key.json", json.dumps(account).encode())
    monkeypatch.delenv("GOOGLE_BEARER_TOKEN")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    gcs.token = None
    ObjectBucket("gs://bucket/p").put("a", [b"x"])
    [(method, name, headers)] = gcs.requests
    assert (method, name) == ("PUT", "bucket/p/a")
    claims = headers["authorization"].removeprefix("Bearer ").split(".")[1]
    said = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert said["iss"] == "someone@project.example"

"""Real servers. Each test needs them installed: make test-integration does that."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import urllib.parse
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest

from tests.conftest import make_s3_bucket
from tests.integration.servers import Ceph, free_port, needed, running

AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what -m does not name
def pytest_collection_modifyitems(items):
    """Mark what is in this folder."""
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def ceph(tmp_path_factory):
    needed("radosgw")
    cluster = Ceph(tmp_path_factory.mktemp("ceph"))
    try:
        cluster.make()
        yield cluster
    finally:
        cluster.end()


@pytest.fixture
def s3_environment(monkeypatch):
    """Nothing of another server's environment."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_"))]:
        monkeypatch.delenv(name)


def use_s3(monkeypatch, endpoint, key_id, secret, name):
    """Make a bucket on a server, and the environment of its user; return its location."""
    for key, value in {
        "AWS_ACCESS_KEY_ID": key_id,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }.items():
        monkeypatch.setenv(key, value)
    make_s3_bucket(endpoint, name, key_id, secret)
    return f"s3://{name}/prefix"


_numbers = iter(range(1_000_000))


@pytest.fixture
def rgw(ceph, s3_environment, monkeypatch):
    """The location of a new bucket in Ceph."""
    return use_s3(monkeypatch, ceph.endpoint, ceph.KEY_ID, ceph.SECRET, f"bucket{next(_numbers)}")


@pytest.fixture(scope="session")
def azurite(tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("azurite"), free_port()
    command = [
        needed("azurite-blob"), "--silent", "-l", str(folder), "--blobHost", "127.0.0.1",
        "--blobPort", str(port), "--skipApiVersionCheck",
    ]  # fmt: skip
    with running(command, f"http://127.0.0.1:{port}/", folder / "out"):
        yield f"http://127.0.0.1:{port}/devstoreaccount1"


@pytest.fixture
def az(azurite, s3_environment, monkeypatch):
    """The location of a new container in Azurite."""
    name = f"container{next(_numbers)}"
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", azurite)
    make_container(azurite, name)
    return f"az://{name}/prefix"


def sas_token(days=1):
    """Return a signature that lets its holder do everything with blobs until then."""
    expiry = (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    said = {"sp": "rwdlac", "ss": "b", "srt": "sco", "se": expiry, "spr": "https,http",
            "sv": "2018-11-09"}  # fmt: skip
    lines = ["devstoreaccount1", *(said[k] for k in ("sp", "ss", "srt")), "", said["se"], "",
             said["spr"], said["sv"], ""]  # fmt: skip
    return urllib.parse.urlencode(said | {"sig": _signature("\n".join(lines))})


def _signature(text):
    digest = hmac.new(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def make_container(endpoint, name):
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = f"x-ms-date:{date}\nx-ms-version:2021-08-06"
    resource = f"/devstoreaccount1/devstoreaccount1/{name}\nrestype:container"
    text = "PUT" + "\n" * 12 + f"{headers}\n{resource}"
    request = urllib.request.Request(f"{endpoint}/{name}?restype=container", method="PUT")
    request.add_header("x-ms-date", date)
    request.add_header("x-ms-version", "2021-08-06")
    authorization = f"SharedKey devstoreaccount1:{_signature(text)}"
    request.add_header("Authorization", authorization)
    request.add_header("Content-Length", "0")
    urllib.request.urlopen(request)

"""No credential is shown or stored: recognisable ones are planted, and everything is searched."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import kept
from kept.bucket.object_storage.errors import scrub
from tests.conftest import KEY_ID, SECRET
from tests.helpers import write

PLANTED = {
    "AWS_SESSION_TOKEN": "fakeSessionTokenFakeSessionToken",
    "AZURE_STORAGE_SAS_TOKEN": "sv=2024&sig=fakeSasSignatureFakeSas",
    "AZURE_STORAGE_ACCOUNT_KEY": "ZmFrZUFjY291bnRLZXlGYWtlQWNjb3VudEtleQ==",
    "GOOGLE_BEARER_TOKEN": "ya29.fakeBearerTokenFakeBearerToken",
}
PROFILE = {
    "aws_access_key_id": "AKIAPROFILEFAKE01234",
    "aws_secret_access_key": "profile/Secret+fakeSecretfakeSecret0",
    "aws_session_token": "fakeTokenOfTheProfileFakeToken",
}
SECRETS = [
    KEY_ID, SECRET, "hiddenPassword", "fakeSasSignature", *PLANTED.values(), *PROFILE.values(),
]  # fmt: skip

RUN = """
import logging, os, sys, traceback, kept
from kept.sync.mirror.mirrors import Mirror
from kept.sync.outbox.deliver import Delivery
from kept.sync.outbox.outbox import Outbox
from kept.bucket.object_storage import bucket as object_bucket
logging.basicConfig(level=logging.DEBUG)
object_bucket.RETRIES = 1
location, path = sys.argv[1:]
def attempt(work):
    try:
        print(work())
    except kept.KeptError:
        traceback.print_exc()
attempt(lambda: kept.open_store("s3://AKIAFAKEFAKEFAKE1234:hiddenPassword@bucket/p"))
attempt(lambda: kept.open_store("az://container/p?sig=fakeSasSignatureFakeSas"))
attempt(lambda: kept.open_store(location).log_artifact("m", path, metadata={"a": 1}))
local = kept.open_store("local")
local.log_artifact("m", path)
mirror = Mirror(local, location)
attempt(lambda: (mirror.begin("m"), mirror.courier.finish(5)))
attempt(lambda: repr((mirror, vars(mirror), kept.open_store(location).bucket)))
delivery = Delivery(kept.Store(mirror._bucket, look=False), Outbox())
delivery.add("m", {"f": path}, {"type": "model", "aliases": ["a"], "metadata": {}})
attempt(delivery.send)
attempt(lambda: kept.open_store(location).version("m").download("out"))
os.environ["AWS_ENDPOINT_URL"] = "http://someone:hiddenPassword@127.0.0.1:9"
attempt(lambda: kept.open_store(location))
"""


def use_profile(home, monkeypatch):
    """Have the credentials in ~/.aws, and none of AWS in the environment."""
    lines = "".join(f"{key} = {value}\n" for key, value in PROFILE.items())
    write(home / ".aws" / "credentials", f"[lab]\n{lines}".encode())
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("fault", "profile"),
    [(None, False), ("echo", False), ("expired", False), ("away", False), (None, True),
     ("echo", True)],
)  # fmt: skip
def test_nothing_planted_is_found_again(proxy, s3, tmp_path, monkeypatch, fault, profile):
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    if profile:
        use_profile(tmp_path / "home", monkeypatch)
    monkeypatch.setenv("RUST_LOG", "trace")
    folder = tmp_path / "work"
    path = write(folder / "model.bin", b"x" * 5000)
    proxy.fault = lambda *_: fault
    command = [sys.executable, "-c", RUN, s3, str(path)]
    done = subprocess.run(command, capture_output=True, cwd=folder, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"holds no credentials" in done.stderr
    assert fault is None or b"AccessDenied" in done.stderr or b"Unreachable" in done.stderr
    with proxy.counted():
        pass
    sent = {request.headers.get("x-amz-security-token") for request in proxy.requests}
    expected = PROFILE["aws_session_token"] if profile else PLANTED["AWS_SESSION_TOKEN"]
    assert fault == "away" or sent == {expected}
    everything = {"stdout": done.stdout, "stderr": done.stderr}
    for found in folder.rglob("*"):
        everything[str(found)] = found.read_bytes() if found.is_file() else b""
    proxy.fault = lambda *_: None
    bucket = kept.open_store(s3).bucket
    everything |= {key: bytes(bucket.get(key)) for key in bucket.keys("")}
    assert len(everything) > 5
    for secret in SECRETS:
        for where, data in everything.items():
            assert secret.encode() not in data, where
            assert secret not in where


def test_credentials_that_are_not_in_the_environment_are_scrubbed_too(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    said = f"{KEY_ID} Credential={KEY_ID}/2026/s3, Signature=abcdef1234, Bearer abcdef of log/1"
    text = scrub(said)
    assert not any(part in text for part in (KEY_ID, "abcdef"))
    assert text.endswith("of log/1")

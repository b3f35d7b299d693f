"""Profiles of ~/.aws, in a home of their own, up to what arrives at a server."""

from __future__ import annotations

import os
import sys
import traceback

import pytest

import kept
from kept.bucket.object_storage import aws_profile
from kept.errors import AccessDenied, InvalidInput
from tests.conftest import KEY_ID
from tests.helpers import finish, start, tree, write

TOKEN = "fakeSessionTokenOfAProfileFakeSession"
PROFILE_ID, PROFILE_SECRET = "AKIAPROFILEFAKE01234", "profile/Secret+fakeSecretfakeSecret0"


@pytest.fixture
def home(tmp_path, proxy, s3, monkeypatch):
    """A home with an empty ~/.aws, and an environment that has no credentials."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    (tmp_path / "home" / ".aws").mkdir(parents=True)
    return tmp_path / "home"


def credentials(home, section="default", key_id=PROFILE_ID, **more):
    keys = {"aws_access_key_id": key_id, "aws_secret_access_key": PROFILE_SECRET} | more
    text = f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
    with (home / ".aws" / "credentials").open("a") as file:
        file.write(text)


def config(home, text):
    write(home / ".aws" / "config", text.encode())


def who(proxy):
    """Return who has asked: key ids, regions and session tokens of the requests so far."""
    found = set()
    with proxy.counted():  # a client has its answer before the request is noted
        pass
    for request in proxy.requests:
        scope = request.headers["authorization"].partition("Credential=")[2].split("/")
        found.add((scope[0], scope[2], request.headers.get("x-amz-security-token")))
    proxy.requests.clear()
    return found


def test_a_profile_that_is_named(home, proxy, s3, tmp_path, monkeypatch):
    credentials(home)
    credentials(home, "lab", "AKIALABLABFAKE012345", aws_session_token=TOKEN)
    config(home, "[profile lab]\nregion = eu-west-1\n")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    store = kept.open_store(s3)
    store.log_artifact("m", write(tmp_path / "f", b"x" * 5000))
    assert tree(store.version("m").download(tmp_path / "out")) == {"f": b"x" * 5000}
    assert who(proxy) == {("AKIALABLABFAKE012345", "eu-west-1", TOKEN)}
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    kept.open_store(s3)
    assert who(proxy) == {("AKIALABLABFAKE012345", "us-west-2", TOKEN)}


def test_the_default_profile(home, proxy, s3, monkeypatch):
    credentials(home)
    kept.open_store(s3)
    assert who(proxy) == {(PROFILE_ID, "us-east-1", None)}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)  # the environment comes first, as with AWS
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "fakeSecretOfTheEnvironment")
    kept.open_store(s3)
    assert who(proxy) == {(KEY_ID, "us-east-1", None)}


def test_files_that_lie_elsewhere(home, proxy, s3, tmp_path, monkeypatch):
    credentials(home)
    moved = tmp_path / "elsewhere"
    (home / ".aws" / "credentials").rename(moved)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(moved))
    kept.open_store(s3)
    assert who(proxy) == {(PROFILE_ID, "us-east-1", None)}


@pytest.mark.parametrize(
    "text",
    [
        "[default]\nendpoint_url = {}\n",
        "[default]\nservices = lab\n[services lab]\ns3 =\n  endpoint_url = {}\n",
    ],
)
def test_the_endpoint_of_a_profile(home, proxy, s3, monkeypatch, text):
    credentials(home)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    config(home, text.format(proxy.endpoint))
    kept.open_store(s3)
    assert who(proxy) == {(PROFILE_ID, "us-east-1", None)}


def test_a_program_that_prints_credentials(home, proxy, s3, monkeypatch):
    said = f'{{"Version": 1, "AccessKeyId": "{PROFILE_ID}", "SecretAccessKey": "{PROFILE_SECRET}"}}'
    program = write(home / "program", f"print('''{said}''')".encode())
    config(home, f"[profile lab]\ncredential_process = {sys.executable} {program}\n")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    kept.open_store(s3)
    assert who(proxy) == {(PROFILE_ID, "us-east-1", None)}
    program.write_text(f"import sys; sys.exit('{PROFILE_SECRET}')")
    with pytest.raises(AccessDenied, match=r"the profile 'lab' in ~/.aws gives no cred") as e:
        kept.open_store(s3)
    assert PROFILE_SECRET not in "".join(traceback.format_exception(e.value))


def test_credentials_that_are_renewed_in_the_file_are_used(home, proxy, s3, monkeypatch):
    credentials(home, aws_session_token=TOKEN)
    monkeypatch.setattr(aws_profile, "_LIFETIME", aws_profile._LIFETIME * 0)
    store = kept.open_store(s3)
    assert who(proxy) == {(PROFILE_ID, "us-east-1", TOKEN)}
    (home / ".aws" / "credentials").unlink()
    credentials(home, aws_session_token="anotherFakeSessionToken")
    proxy.requests.clear()
    assert list(store.bucket.keys("")) == []
    assert who(proxy) == {(PROFILE_ID, "us-east-1", "anotherFakeSessionToken")}
    (home / ".aws" / "credentials").unlink()
    with pytest.raises(AccessDenied, match=r"the default profile in ~/.aws has no credentials"):
        list(store.bucket.keys(""))


def test_a_profile_that_does_not_exist(home, s3, monkeypatch):
    credentials(home)
    credentials(home, "lab")
    monkeypatch.setenv("AWS_PROFILE", "lap")
    with pytest.raises(
        InvalidInput, match=r"Existing profiles: default, lab\. Received: 'lap'"
    ) as caught:
        kept.open_store(s3)
    assert PROFILE_ID not in str(caught.value)


def test_a_file_that_cannot_be_read(home, s3):
    config(home, f"no section {PROFILE_SECRET}\n")
    with pytest.raises(InvalidInput, match=r"cannot be read \(ConfigParseError\)") as caught:
        kept.open_store(s3)
    assert PROFILE_SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_profile_needs_botocore_and_says_so(home, s3, monkeypatch):
    code = """
import sys; sys.modules["botocore.session"] = None
import kept
try: kept.open_store(sys.argv[1])
except kept.KeptError as error: print(error)
"""
    monkeypatch.setenv("AWS_PROFILE", "lab")
    [line] = finish(start(code, s3))
    assert "pip install botocore" in line


def test_without_any_credentials_profiles_are_spoken_of(home, s3, quick, monkeypatch):
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(AccessDenied, match=r"no credentials were found.*AWS_PROFILE"):
        kept.open_store(s3)

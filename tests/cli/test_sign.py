"""kept sign, and the options that ask for a signature."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


def write_keys(name: str, encryption=None) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    form = Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()
    Path(f"{name}.pem").write_bytes(key.private_bytes(*form))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    Path(f"{name}.pub").write_bytes(public)


@pytest.fixture
def keys(store):
    write_keys("alice")
    write_keys("bob")


def test_sign_and_verify(run, keys):
    assert run("sign", "mnist:best", "--key", "alice.pem").stdout.startswith(
        "Signed mnist:v1 with alice.pem (public key "
    )
    first, summary = run("verify", "mnist:v1", "--signed-by", "alice.pub").stdout.splitlines()
    assert first.startswith("mnist:v1: signed 20")
    assert summary == "1 version, 1.0 kB read: no damage"
    run("verify", "mnist:v1", "--signed-by", "bob.pub", "--signed-by", "alice.pub")


def test_a_missing_signature_is_a_problem(run, keys):
    run("sign", "mnist:v1", "--key", "alice.pem")
    lines = run("verify", "--signed-by", "alice.pub", exit=4).stdout.splitlines()
    assert [line.partition(" ")[0] for line in lines] == [
        "mnist:v1:",
        "mnist:v0:",
        "mnist:v2:",
        "3",
    ]
    assert lines[1].startswith("mnist:v0: has no valid signature by alice.pub in ")
    assert "by another key" in run("verify", "mnist:v1", "--signed-by", "bob.pub", exit=4).stdout
    assert run("verify").exit_code == 0


def test_json(run, keys):
    signature = run.json("sign", "mnist:v1", "--key", "alice.pem")
    assert signature["reference"] == "mnist:v1"
    report = run.json("verify", "--signed-by", "alice.pub", exit=4)
    assert not report["ok"]
    assert [problem["where"] for problem in report["problems"]] == ["mnist:v0", "mnist:v2"]
    facts = {key: signature[key] for key in ("key_id", "signed_at")}
    assert report["signatures"] == [{"where": "mnist:v1", **facts, "same_history": True}]
    assert "signatures" not in run.json("verify")


def test_get(run, keys, monkeypatch):
    run("sign", "mnist:v1", "--key", "alice.pem")
    run("get", "mnist:v1", "out", "--signed-by", "alice.pub")
    assert (
        "has no valid signature"
        in run("get", "mnist:v0", "no", "--signed-by", "alice.pub", exit=4).stderr
    )
    monkeypatch.setenv("KEPT_REQUIRE_SIGNED", "alice.pub")
    run("get", "mnist:v0", "no", exit=4)
    run("get", "mnist:v1", "out2")
    assert not Path("no").exists()
    assert len(run.json("ls", "mnist")) == 3
    run("sign", "mnist:v0", "--key", "alice.pem")  # signing needs no signature
    run("get", "mnist:v0", "yes")


def test_evaluate(run, keys):
    run("sign", "mnist:v1", "--key", "alice.pem")
    measure = ("--name", "x", "--signed-by", "alice.pub", "--", "echo", '{"a": 1}')
    run("evaluate", "mnist:v1", *measure)
    run("metric", "mnist:v1", "b=1")
    run("verify", "mnist:v1", "--signed-by", "alice.pub")  # what was measured later is not signed
    assert "no valid signature" in run("evaluate", "mnist:v0", *measure, exit=4).stderr
    assert run.json("metric", "mnist:v0")["metrics"] == {}


def test_get_with_the_signature_of_the_files(run, keys):
    run("get", "mnist:v1", "--signature", "model.sig", exit=2)
    run("sign", "mnist:v1", "--key", "alice.pem")
    run("get", "mnist:v1", "out", "--signed-by", "alice.pub", "--signature", "model.sig")
    command = [sys.executable, "-m", "model_signing", "verify", "key", "out"]
    options = ["--signature", "model.sig", "--public_key", "alice.pub"]
    subprocess.run([*command, *options], check=True, capture_output=True)


def test_an_encrypted_key(run, store, monkeypatch):
    write_keys("carol", BestAvailableEncryption(b"secret"))
    assert "Set $KEPT_KEY_PASSWORD" in run("sign", "mnist", "--key", "carol.pem", exit=2).stderr
    monkeypatch.setenv("KEPT_KEY_PASSWORD", "wrong")
    run("sign", "mnist", "--key", "carol.pem", exit=2)
    monkeypatch.setenv("KEPT_KEY_PASSWORD", "secret")
    run("sign", "mnist", "--key", "carol.pem")
    run("verify", "mnist", "--signed-by", "carol.pub")


def test_wrong_keys(run, keys):
    run("sign", "mnist", "--key", "nowhere.pem", exit=2)
    run("sign", "mnist", "--key", "alice.pub", exit=2)
    run("verify", "--signed-by", "nowhere.pub", exit=2)
    assert "holds no public key" in run("verify", "--signed-by", "alice.pem", exit=2).stderr


def test_damage_is_reported_beside_signatures(run, keys, damaged):
    run("sign", "mnist:v0", "--key", "alice.pem")
    run("sign", damaged, "--key", "alice.pem", exit=4)
    lines = run("verify", "--signed-by", "alice.pub", exit=4).stdout.splitlines()
    assert lines[-1].endswith("3 problems")


def test_a_mirror_has_the_signatures(run, keys):
    run("sign", "mnist:v1", "--key", "alice.pem")
    run("sync", "kept-store", "mirror")
    run("--store", "mirror", "get", "mnist:v1", "out", "--signed-by", "alice.pub")
    run("sign", "mnist:v2", "--key", "alice.pem")
    run("sync", "kept-store", "mirror")
    run("--store", "mirror", "get", "mnist:v2", "out", "--signed-by", "alice.pub")


@pytest.mark.skipif(not shutil.which("openssl"), reason="the page makes keys with openssl")
def test_the_page_about_signing_runs(run, store):
    """The commands of docs/signing.md, in a shell."""
    page = Path(__file__).parents[2] / "docs" / "signing.md"
    code = "\n".join(re.findall(r"^```sh\n(.*?)\n```$", page.read_text(), re.MULTILINE | re.DOTALL))
    Path("given").write_text("content")
    store.log_artifact("model", "given")
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": scripts}
    subprocess.run(["sh", "-ec", code], check=True, capture_output=True, env=environment)
    assert Path("served/given").read_text() == "content"


def test_mv_and_cp_report_signatures_that_stay_behind(run, store, keys):
    assert run("cp", "mnist:best", "first").stderr == ""
    run("sign", "mnist:best", "--key", "alice.pem")
    assert run("cp", "mnist:best", "other").stderr == (
        "Signatures are not copied. To sign the copy: kept sign other:v0\n"
    )
    assert run("cp", "mnist:v0", "third").stderr == ""
    assert run("mv", "mnist", "digits").stderr == (
        "Signatures stay behind, because they name mnist. To sign again: kept sign digits:vN\n"
    )
    assert run("mv", "third", "fourth").stderr == ""

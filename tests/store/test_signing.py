"""Signatures: what is signed, who may read, and the attacks of a person who can write the store."""

import base64
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kept
from kept.bucket.memory import MemoryBucket
from kept.digest import digest
from kept.errors import Damaged, InvalidInput, NotSigned
from kept.store.encoding import canonical, seal, unseal
from kept.store.signing import signatures, statement
from kept.store.signing.keys import VARIABLE
from kept.sync.mirror.replicate import Sync

RECORD = "artifacts/m/log/{:020d}.json"


class Keys:
    """Pairs of key files by name."""

    def __init__(self, folder):
        self._folder = folder
        for name in ("alice", "bob"):
            self.write(name, ec.generate_private_key(ec.SECP256R1()))

    def write(self, name, key, encryption=None):
        private = PrivateFormat.PKCS8, encryption or NoEncryption()
        public = PublicFormat.SubjectPublicKeyInfo
        self.private(name).write_bytes(key.private_bytes(Encoding.PEM, *private))
        self.public(name).write_bytes(key.public_key().public_bytes(Encoding.PEM, public))

    def private(self, name):
        return self._folder / f"{name}.pem"

    def public(self, name):
        return self._folder / f"{name}.pub"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def alice(keys):
    return keys.public("alice")


@pytest.fixture
def signed(store, file, keys):
    """m:v0 is signed by alice; m:v1 and n:v0 are not signed."""
    store.log_artifact("m", file(b"0" * 1000), metadata={"epoch": 1, "loss": 0.1})
    store.log_artifact("m", file(b"1" * 1000))
    store.log_artifact("n", file(b"0" * 1000), metadata={"epoch": 1, "loss": 0.1})
    store["m:v0"].sign(keys.private("alice"))
    return store


def stored(store, reference, ending=".json"):
    """The key of the only signature of a version."""
    version = store.version(reference)
    found = store.bucket.keys(f"signatures/{version.name}/{version.version}/")
    [key] = [key for key in found if key.endswith(ending)]
    return key


def put(store, reference, value):
    """Store a signature for a version, under the right name; delete the others."""
    version = store.version(reference)
    folder = f"signatures/{version.name}/{version.version}/"
    for key in [key for key in store.bucket.keys(folder) if key.endswith(".json")]:
        store.bucket.delete(key)
    data = value if isinstance(value, bytes) else canonical(value)
    store.bucket.put(f"{folder}{digest(data)}.json", [data])


def value_of(store, reference):
    return json.loads(store.bucket.get(stored(store, reference)))


def required(store, *public):
    return kept.Store(store.bucket, require_signed=public)


def refused(store, reference, public):
    """The message of the error that a required key raises."""
    with pytest.raises(NotSigned) as error:
        store.version(reference).check_signed(public)
    return str(error.value)


def test_a_signature_is_found_again(signed, keys, alice):
    signature = signed["m:v0"].check_signed(alice)
    assert signature.statement["digest"] == signed["m:v0"].digest
    assert repr(signature).startswith("<kept.Signature of m:v0 by ")
    assert "no signature" in refused(signed, "m:v1", alice)
    assert "no signature" in refused(signed, "n:v0", alice)
    assert "by another key" in refused(signed, "m:v0", keys.public("bob"))


def test_content_is_given_only_with_a_signature(signed, alice, tmp_path):
    store = required(signed, alice)
    assert store["m:v0"].download(tmp_path / "0")
    with pytest.raises(NotSigned, match=r"m:v1 has no valid signature by .*alice\.pub"):
        store["m:v1"].download(tmp_path / "1")
    assert not (tmp_path / "1").exists()
    assert len(store.versions("m")) == 2
    store.log_artifact("m", tmp_path / "0" / "model.bin")  # writing needs no signature


def test_several_signers_and_several_keys(signed, keys, alice, tmp_path):
    bob = keys.public("bob")
    signed["m:v0"].sign(keys.private("bob"))
    signed["m:v1"].sign(keys.private("bob"))
    for public in (alice, bob):
        assert signed["m:v0"].check_signed(public)
    assert required(signed, alice, bob)["m:v1"].download(tmp_path)
    assert "by another key" in refused(signed, "m:v1", alice)


def test_the_variable_applies_to_every_store(signed, keys, alice, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, os.pathsep.join([str(alice), str(keys.public("bob"))]))
    for store in (kept.Store(signed.bucket), kept.Store(signed.bucket, look=False)):
        with pytest.raises(NotSigned):
            store["m:v1"].download(tmp_path)
        store["m:v0"].download(tmp_path)
    assert kept.open_store(tmp_path / "new").required_keys[0].path == str(alice)


def test_keys_are_checked_when_the_store_is_opened(keys, alice, tmp_path):
    with pytest.raises(InvalidInput, match=r"cannot be read: No such file.*nowhere\.pub"):
        kept.open_store(tmp_path / "s", require_signed=tmp_path / "nowhere.pub")
    with pytest.raises(InvalidInput, match="holds no public key"):
        kept.open_store(tmp_path / "s", require_signed=keys.private("alice"))
    with pytest.raises(InvalidInput, match="at least one"):
        kept.open_store(tmp_path / "s", require_signed=[])


def test_a_key_file_is_read_once(signed, keys, alice, tmp_path):
    public = tmp_path / "public.pem"
    public.write_bytes(alice.read_bytes())
    store = required(signed, public)
    public.write_bytes(keys.public("bob").read_bytes())
    store["m:v0"].download(tmp_path / "out")


def test_other_kinds_of_keys_are_refused(signed, keys):
    keys.write("rsa", rsa.generate_private_key(65537, 2048))
    keys.write("curve", ec.generate_private_key(ec.SECP256K1()))
    for name in ("rsa", "curve"):
        with pytest.raises(InvalidInput, match="Expected an elliptic key"):
            signed["m:v0"].sign(keys.private(name))
        with pytest.raises(InvalidInput, match="Expected an elliptic key"):
            signed["m:v0"].check_signed(keys.public(name))
    with pytest.raises(InvalidInput, match="private key cannot be read"):
        signed["m:v0"].sign(keys.public("alice"))


@pytest.mark.parametrize("curve", [ec.SECP384R1, ec.SECP521R1])
def test_larger_curves(signed, keys, curve):
    keys.write("large", ec.generate_private_key(curve()))
    signed["m:v1"].sign(keys.private("large"))
    assert signed["m:v1"].check_signed(keys.public("large"))


def test_an_encrypted_key(signed, keys):
    secret = BestAvailableEncryption(b"secret")
    keys.write("carol", ec.generate_private_key(ec.SECP256R1()), secret)
    signed["m:v1"].sign(keys.private("carol"), password="secret")
    assert signed["m:v1"].check_signed(keys.public("carol"))
    for password in ("wrong", None):
        with pytest.raises(InvalidInput, match="private key cannot be read"):
            signed["m:v1"].sign(keys.private("carol"), password=password)


def test_a_damaged_version_is_not_signed(signed, keys):
    [chunk] = signed["m:v1"].manifest.chunks()
    signed.bucket.delete(f"blobs/{chunk.blob[:2]}/{chunk.blob}")
    with pytest.raises(Damaged):
        signed["m:v1"].sign(keys.private("alice"))
    assert not list(signed.bucket.keys("signatures/m/v1/"))


def test_no_network_is_used(signed, keys, alice, monkeypatch):
    def no_socket(*args, **options):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    signed["m:v1"].sign(keys.private("alice"))
    assert signed["m:v1"].check_signed(alice)


def test_model_signing_verifies_the_files_without_kept(signed, keys, alice, tmp_path):
    files = [tmp_path / "in" / name for name in ("a.txt", "sub/b.txt")]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    version = signed.log_artifact("f", [tmp_path / "in"])
    of_files = signatures.files_signature(signed.bucket, version.sign(keys.private("alice")))
    (tmp_path / "model.sig").write_bytes(of_files)
    folder = version.download(tmp_path / "out")

    def verify(public):
        command = [sys.executable, "-m", "model_signing", "verify", "key", str(folder)]
        options = ["--signature", str(tmp_path / "model.sig"), "--public_key", str(public)]
        return subprocess.run([*command, *options], check=False, capture_output=True).returncode

    assert verify(alice) == 0
    assert verify(keys.public("bob")) != 0
    (folder / "in" / "a.txt").write_text("A.txt")
    assert verify(alice) != 0


def test_the_signature_of_the_files_is_bound(signed, alice):
    signature = signed["m:v0"].check_signed(alice)
    key = stored(signed, "m:v0", ".sig")
    signed.bucket.put(key, [b"{}"])
    with pytest.raises(Damaged, match="another digest than its name"):
        signatures.files_signature(signed.bucket, signature)
    signed.bucket.delete(key)
    with pytest.raises(Damaged, match="is missing"):
        signatures.files_signature(signed.bucket, signature)


# Attacks


def rewrite(store, number, **changes):
    """Change a record, and seal it again, as a person can who writes to the store."""
    key = RECORD.format(number)
    store.bucket.put(key, [seal(unseal(store.bucket.get(key), key) | changes)])
    return kept.Store(store.bucket)


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": {"epoch": 1, "loss": 0.1, "keras_version": "2.15"}},
        {"metadata": {"epoch": True, "loss": 0.1}},
        {"type": "dataset"},
        {"time": "2020-01-01T00:00:00.000000Z"},
        {"size": 999},
        {"digest": "0" * 64},
    ],
)
def test_a_changed_record(store, file, keys, alice, changes):
    store.log_artifact("m", file(b"0" * 1000), metadata={"epoch": 1, "loss": 0.1})
    store["m:v0"].sign(keys.private("alice"))
    [name] = changes
    name = {"time": "created_at"}.get(name, name)
    assert f"differs in {name}" in refused(rewrite(store, 1, **changes), "m:v0", alice)


def test_a_swapped_manifest(store, file, keys, alice, tmp_path):
    store.log_artifact("m", file(b"0" * 1000))
    store["m:v0"].sign(keys.private("alice"))
    other = store.log_artifact("evil", file(b"666"))
    facts = {"manifest": other.record.manifest, "digest": other.digest, "size": other.size}
    assert "differs in digest, manifest, size" in refused(rewrite(store, 1, **facts), "m:v0", alice)
    # With another record's manifest alone, the signature would hold if it did not name it.
    again = rewrite(store, 1, manifest=other.record.manifest, digest="0" * 64, size=1000)
    assert "differs in" in refused(again, "m:v0", alice)


def test_other_bytes_under_the_name_of_the_signed_manifest(signed, alice, tmp_path):
    names = [signed[f"m:v{n}"].record.manifest for n in (0, 1)]
    data = signed.bucket.get(f"manifests/{names[1][:2]}/{names[1]}.json")
    signed.bucket.put(f"manifests/{names[0][:2]}/{names[0]}.json", [data])
    with pytest.raises(Damaged):
        required(signed, alice)["m:v0"].download(tmp_path / "out")


@pytest.mark.parametrize(("target", "why"), [("m:v1", "index"), ("n:v0", "artifact")])
def test_the_signature_of_another_version(signed, alice, target, why):
    put(signed, target, value_of(signed, "m:v0"))
    message = refused(signed, target, alice)
    assert "is of another version" in message
    assert why in message


def test_a_removed_signature(signed, alice, tmp_path):
    store = required(signed, alice)
    version = store["m:v0"]
    signed.bucket.delete(stored(signed, "m:v0"))
    with pytest.raises(NotSigned, match="no signature"):
        version.download(tmp_path / "out")


def test_a_forged_statement(signed, alice):
    """An attacker adapts the statement, then also the signed bytes, then also the key."""
    value = value_of(signed, "m:v0")
    value["statement"] |= {"index": 1} | {
        name: fact
        for name, fact in statement.facts_of("m", signed["m:v1"].record).items()
        if name != "format"
    }
    put(signed, "m:v1", value)
    assert "signed bytes are not about its statement" in refused(signed, "m:v1", alice)
    forge(value)
    put(signed, "m:v1", value)
    assert "is forged" in refused(signed, "m:v1", alice)


def forge(value):
    """Let the signed bytes be about the statement; the signature itself cannot be made."""
    import hashlib

    envelope = value["bundle"]["dsseEnvelope"]
    payload = json.loads(base64.b64decode(envelope["payload"]))
    content = hashlib.sha256(canonical(value["statement"]))
    payload["predicate"]["resources"][0]["digest"] = content.hexdigest()
    root = hashlib.sha256(content.digest()).hexdigest()
    payload["subject"][0]["digest"]["sha256"] = root
    envelope["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()


def test_another_key_under_the_name_of_the_required_one(signed, keys, alice):
    hint = value_of(signed, "m:v0")["bundle"]["verificationMaterial"]["publicKey"]
    signed["m:v1"].sign(keys.private("bob"))
    value = value_of(signed, "m:v1")
    value["bundle"]["verificationMaterial"]["publicKey"] = hint
    put(signed, "m:v1", value)
    assert "is forged" in refused(signed, "m:v1", alice)


def test_a_signed_file_is_no_statement(store, file, keys, alice):
    """A signer signs a version that holds a statement about another version as its file."""
    good = store.log_artifact("good", file(b"666"))
    good_facts = store.log_artifact("bait", file(b"1")).sign(keys.private("alice")).statement
    wanted = good_facts | statement.facts_of("good", good.record)
    bait = store.log_artifact("bait", file(canonical(wanted), "statement.json"))
    of_files = signatures.files_signature(store.bucket, bait.sign(keys.private("alice")))
    value = {"bundle": statement._normal_form(json.loads(of_files)), "statement": wanted}
    put(store, "good:v0", value)
    assert "signed bytes are not about its statement" in refused(store, "good:v0", alice)


def test_names_that_only_pydantic_knows_are_refused(signed, alice):
    """model_signing also takes dsse_envelope: two readers must not see two bundles."""
    value = value_of(signed, "m:v0")
    value["bundle"]["dsse_envelope"] = value["bundle"]["dsseEnvelope"]
    put(signed, "m:v0", value)
    assert "other fields than expected" in refused(signed, "m:v0", alice)


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"bundle":{},"statement":{}}',
        b'{"bundle":null,"statement":null}',
        b'{"bundle":{"verificationMaterial":[]},"statement":{"digest":1}}',
        b'{"bundle":NaN,"statement":1e999}',
        b'{"a":"\\ud800"}',
        b"1" * 5_000,
        b'{"statement":' + b"9" * 60_000 + b"}",
    ],
)
def test_garbage(signed, alice, garbage):
    put(signed, "m:v1", garbage)
    assert "signature" in refused(signed, "m:v1", alice)
    # A good signature beside it still counts.
    folder = "signatures/m/v0/"
    signed.bucket.put(f"{folder}{digest(garbage)}.json", [garbage])
    signed.bucket.put(f"{folder}{'0' * 64}.json", [garbage])
    signed.bucket.put(f"{folder}notes.json", [garbage])
    signed.bucket.put(f"{folder}sub/{digest(garbage)}.json", [garbage])
    assert signed["m:v0"].check_signed(alice)


def test_a_flipped_bit_is_named(signed, alice):
    key = stored(signed, "m:v0")
    data = bytearray(signed.bucket.get(key))
    data[100] ^= 1
    signed.bucket.put(key, [data])
    assert f"{key} is damaged" in refused(signed, "m:v0", alice)


@pytest.mark.parametrize("name", ["index", "size", "format"])
@pytest.mark.parametrize("wrong", [True, -1, 2**63, 1.0, "0", None])
def test_numbers_of_a_statement_are_checked(signed, name, wrong):
    """Also if the signed bytes agree with them."""
    value = value_of(signed, "m:v0")
    forge(value)
    assert statement.read_signature(canonical(value), "key")
    value["statement"][name] = wrong
    forge(value)
    with pytest.raises(Damaged, match=f"key is no signature: {name} is "):
        statement.read_signature(canonical(value), "key")


def test_a_signature_has_one_form(signed, alice):
    value = value_of(signed, "m:v0")
    put(signed, "m:v0", json.dumps(value).encode())
    assert "not canonical" in refused(signed, "m:v0", alice)


class Counting(MemoryBucket):
    """Counts the bytes that get hands out."""

    def __init__(self):
        super().__init__()
        self.read = 0

    def get(self, key, start=0, length=None):
        data = super().get(key, start, length)
        self.read += len(data) if key.startswith("signatures/") else 0
        return data


def test_a_huge_signature_is_not_read(file, keys, alice):
    store = kept.Store(Counting())
    store.log_artifact("m", file(b"0"))
    put(store, "m:v0", b" " * 50_000_000)
    assert "is larger than a signature" in refused(store, "m:v0", alice)
    assert store.bucket.read <= statement.LIMIT + 1


def test_very_many_signatures_are_not_read(file, keys, alice):
    store = kept.Store(Counting())
    store.log_artifact("m", file(b"0"))
    for n in range(1000):
        data = b"%d" % n
        store.bucket.put(f"signatures/m/v0/{digest(data)}.json", [data])
    message = refused(store, "m:v0", alice)
    assert "and 253 more" in message
    assert len(message) < 2000
    assert store.bucket.read < 1024


WRONG = [None, True, False, -1, 0, 2**63, 2**70, 1.5, "", "x", "0" * 64, "é", [], {}, [[]], "\0"]


def places(value, path=()):
    """Every path inside a JSON value."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from places(inner, (*path, n))


def changed(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(copy[path[0]], path[1:], new)
    return copy


def test_every_field_with_every_wrong_value(signed, alice):
    good = value_of(signed, "m:v0")
    tried = 0
    for path in places(good):
        for wrong in WRONG:
            value = changed(good, path, wrong)
            if canonical(value) != canonical(good):
                put(signed, "m:v0", value)
                refused(signed, "m:v0", alice)
                tried += 1
    assert tried > 300
    put(signed, "m:v0", good)
    assert signed["m:v0"].check_signed(alice)


def test_every_field_of_the_signed_bytes_with_every_wrong_value(signed, alice):
    good = value_of(signed, "m:v0")
    payload = json.loads(base64.b64decode(good["bundle"]["dsseEnvelope"]["payload"]))
    for path in places(payload):
        for wrong in WRONG:
            text = json.dumps(changed(payload, path, wrong)).encode()
            value = changed(
                good, ("bundle", "dsseEnvelope", "payload"), base64.b64encode(text).decode()
            )
            put(signed, "m:v0", value)
            refused(signed, "m:v0", alice)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_bytes_and_any_json(signed, alice, data):
    folder = "signatures/m/v1/"
    value = data.draw(json_values | st.binary(max_size=2000))
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    signed.bucket.put(f"{folder}{digest(text)}.json", [text])
    refused(signed, "m:v1", alice)
    for key in list(signed.bucket.keys(folder)):
        signed.bucket.delete(key)


# The log, gc and mirrors


def test_what_may_change_after_signing(signed, alice):
    signed.set_alias("m:v0", "prod")
    signed.set_ttl("m:v0", "7d")
    signed.delete("m:v0", force=True)
    signed.undelete("m:v0")
    signature = signed["m:v0"].check_signed(alice)
    assert signatures.has_same_history(signed.log("m"), signature)


def test_a_rewritten_history_is_noticed(store, file, keys, alice):
    store.log_artifact("m", file(b"0"))
    store.set_alias("m:v0", "prod")
    signature = store["m:v0"].sign(keys.private("alice"))
    assert signature.statement["head"]["number"] == 2
    again = rewrite(store, 2, aliases={"best": 0})
    assert again["m:v0"].check_signed(alice) == signature  # aliases are not signed
    assert not signatures.has_same_history(again.log("m"), signature)
    store.bucket.delete(RECORD.format(2))
    assert not signatures.has_same_history(kept.Store(store.bucket).log("m"), signature)


def test_gc_keeps_signatures(signed, alice):
    before = set(signed.bucket.keys("signatures/"))
    signed.gc(grace=0)
    assert set(signed.bucket.keys("signatures/")) == before
    assert signed["m:v0"].check_signed(alice)


def test_a_mirror_gets_the_signatures(signed, keys, alice, tmp_path):
    target = kept.Store(MemoryBucket(), require_signed=alice)
    sync = Sync(signed, target, "m")
    sync.run()
    assert target["m:v0"].download(tmp_path / "0")
    with pytest.raises(NotSigned):
        target["m:v1"].download(tmp_path / "1")
    signed["m:v1"].sign(keys.private("alice"))
    sync.run()  # nothing else is new
    assert target["m:v1"].download(tmp_path / "1")
    assert set(target.bucket.keys("signatures/")) == set(signed.bucket.keys("signatures/"))


def test_a_mirror_with_records_of_its_own(signed, file, keys, alice):
    """A gc put a fence into the mirror's log, so the same version has another record there."""
    target = kept.Store(MemoryBucket())
    Sync(signed, target, "m").run()
    target.log_artifact("x", file(b"x"))
    target.delete("x:v0", force=True)
    target.gc(grace=0)
    version = signed.log_artifact("m", file(b"2"))
    signature = version.sign(keys.private("alice"))
    Sync(signed, target, "m").run()
    assert target["m:v2"].check_signed(alice) == signature
    assert signatures.has_same_history(signed.log("m"), signature)
    assert not signatures.has_same_history(target.log("m"), signature)


def test_damaged_signatures_are_not_copied(signed):
    key = stored(signed, "m:v0")
    signed.bucket.put(key, [b"damaged"])
    signed.bucket.put(f"signatures/m/v0/{'1' * 64}.json", [b" " * 1_000_000])
    signed.bucket.put("signatures/m/v0/stray", [b"x"])
    target = kept.Store(MemoryBucket())
    Sync(signed, target, "m").run()
    assert [k for k in target.bucket.keys("signatures/") if k.endswith(".json")] == []


# The package


def test_without_the_package(signed, keys, alice, monkeypatch):
    monkeypatch.setitem(sys.modules, "model_signing.signing", None)
    for call in (
        lambda: signed["m:v0"].sign(keys.private("alice")),
        lambda: signed["m:v0"].check_signed(alice),
    ):
        with pytest.raises(InvalidInput, match=r"pip install 'kept\[sign\]'"):
            call()


def test_one_module_imports_model_signing():
    root = Path(kept.__file__).parent
    names = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(
            r"(import|from) model_signing|import_module\(f?.model_signing", path.read_text()
        )
    }
    assert names == {"store/signing/openssf.py"}


def test_opening_a_store_loads_no_cryptography(alice, tmp_path):
    code = (
        "import sys, kept; kept.open_store(sys.argv[1], require_signed=sys.argv[2]); "
        "sys.exit(any(name in sys.modules for name in ('model_signing', 'cryptography')))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "s"), str(alice)], check=True)

"""What belongs to versions besides their log, after they were renamed or copied."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization import PublicFormat as Public

import kept
from kept.errors import NotSigned
from kept.store.blobs.blob import RAW, bases_of, read_head
from tests.helpers import hdf5, tree, write
from tests.store.compact.test_compactor import steps


def blobs(version):
    return {chunk.blob for chunk in version.manifest.chunks()}


@pytest.fixture
def compacted(tmp_path):
    """A store whose artifact m has four versions, their contents, and one that needs a base."""
    store = kept.open_store(tmp_path / "store")
    contents = [hdf5(tensors) for tensors in steps(4, shapes=(60_000, 1_000))]
    for content in contents:
        store.log_artifact("m", write(tmp_path / "m.h5", content))
    assert store.compact().blobs
    based = [
        v.index
        for v in store.versions("m")
        if any(bases_of(store.bucket, blob) for blob in blobs(v))
    ]
    return store, contents, based[0]


def content_of(version, tmp_path):
    [content] = tree(version.download(tmp_path / f"{version.name}-{version.index}")).values()
    return content


def test_a_renamed_artifact_keeps_the_bases_of_its_blobs(compacted, tmp_path):
    store, contents, based = compacted
    store.rename("m", "net")
    [gone] = {0, 3} - {based} if based in (0, 3) else {3}
    store.delete(f"net:v{gone}")
    store.gc(grace=0)
    for index in {0, 1, 2, 3} - {gone}:
        assert content_of(store.version(f"net:v{index}"), tmp_path) == contents[index]
    store.compact()
    store.rename("net", "m")
    store.gc(grace=0)
    assert {v.index for v in store.versions("m")} == {0, 1, 2, 3} - {gone}
    assert store.verify().problems == []


def test_a_copy_keeps_the_bases_of_its_blobs(compacted, tmp_path):
    store, contents, based = compacted
    assert store.copy(f"m:v{based}", "best").bytes_new == 0
    other = kept.open_store(tmp_path / "other")
    other.copy(store.version(f"m:v{based}"), "best")
    store.remove_artifact("m")
    store.gc(grace=0)
    [there] = other.versions("best")
    assert content_of(store.version("best:v0"), tmp_path / "here") == contents[based]
    assert content_of(there, tmp_path / "there") == contents[based]
    assert {read_head(other.bucket, blob).codec for blob in blobs(there)} == {RAW}
    assert store.verify().problems == other.verify().problems == []


@pytest.fixture
def keys(tmp_path):
    """A private key and its public key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, Public.SubjectPublicKeyInfo)
    return write(tmp_path / "key.pem", private), write(tmp_path / "key.pub", public)


def test_signatures_stay_behind(log, tmp_path, keys):
    private, public = keys
    store = kept.open_store(tmp_path / "store")
    log(store)
    store.version("m:v0").sign(private)
    strict = kept.open_store(tmp_path / "store", require_signed=public)
    assert strict.copy("m:v0", "best").index == 0  # the original is signed
    store.rename("m", "net")
    for name in ("net", "best"):
        with pytest.raises(NotSigned, match=f"{name}:v0 has no valid signature"):
            strict.version(f"{name}:v0").download(tmp_path / "no")
        with pytest.raises(NotSigned):
            strict.copy(f"{name}:v0", "other")
    store.version("net:v0").sign(private)
    strict.version("net:v0").download(tmp_path / "net")
    store.rename("net", "m")
    strict.version("m:v0").download(tmp_path / "m")  # the first signature is valid again
    assert store.verify().problems == []

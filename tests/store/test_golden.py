"""Stores that earlier kept have written stay readable, and can be gone on with.

tests/data/stores/raw was written by the kept that knew no coded blobs (commit 53334b2), and coded
by the first one that knew them; both hold the same versions, of which v0 is deleted.
"""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

import kept
from kept.store.blobs.blob import read_head
from tests.helpers import tree, write

DATA = Path(__file__).parent.parent / "data" / "stores"
FILES = json.loads((DATA / "files.json").read_text())


@pytest.fixture(params=["raw", "coded"])
def golden(request, tmp_path):
    shutil.copytree(DATA / request.param, tmp_path / "store")
    return kept.open_store(tmp_path / "store")


def check(store, tmp_path, index):
    got = tree(store[f"digits:v{index}"].download(tmp_path / f"out{index}"))
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in got.items()}
    assert hashes == FILES[f"v{index}"]


def test_it_is_read(golden, tmp_path):
    assert golden.verify().ok
    assert [v.aliases for v in golden.versions("digits")] == [
        ("best", "epoch_1"), ("latest", "epoch_2", "prod"),
    ]  # fmt: skip
    assert golden["digits:best"].metadata == {"epoch": 1}
    for index in (1, 2):
        check(golden, tmp_path, index)


def test_it_is_gone_on_with(golden, tmp_path):
    golden.undelete("digits:v0")
    version = golden.log_artifact("digits", write(tmp_path / "new" / "note.txt", b"new"))
    assert version.index == 3
    golden.compact()
    assert golden.verify().ok
    for index in range(3):
        check(golden, tmp_path, index)


def test_the_coded_one_has_coded_blobs_with_and_without_a_base():
    store = kept.open_store(DATA / "coded")
    names = {chunk.blob for v in store.versions("digits") for chunk in v.manifest.chunks()}
    found = [read_head(store.bucket, name) for name in names]
    assert {(head.codec, head.base is None) for head in found} >= {(1, True), (1, False)}

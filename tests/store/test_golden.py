"""Stores that earlier kept have written stay readable, can be continued, and can be repaired.

tests/data/stores/raw was written by the kept that knew no coded blobs (commit 53334b2), coded by
the first one that knew them, chained by the first one whose records form a chain, and later by the
first one that logged events about existing versions. All hold the same versions, of which v0 is
deleted.
"""

import hashlib
import json
import math
import shutil
from pathlib import Path

import pytest

import kept
from kept.store.blobs.blob import read_head
from kept.store.receipts import Receipts
from kept.sync.mirror.replicate import Sync
from tests.helpers import tree, write

DATA = Path(__file__).parent.parent / "data" / "stores"
FILES = json.loads((DATA / "files.json").read_text())


@pytest.fixture(params=["raw", "coded", "chained", "later"])
def golden(request, tmp_path):
    shutil.copytree(DATA / request.param, tmp_path / "store")
    return kept.open_store(tmp_path / "store")


def check(store, tmp_path, index):
    got = tree(store[f"digits:v{index}"].download(tmp_path / f"out{index}"))
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in got.items()}
    assert hashes == FILES[f"v{index}"]


def test_it_is_read(golden, tmp_path):
    assert golden.verify().ok
    names = [[a for a in v.aliases if a != "demo"] for v in golden.versions("digits")]
    assert names == [["best", "epoch_1"], ["latest", "epoch_2", "prod"]]
    assert golden["digits:best"].record.metadata == {"epoch": 1}
    for index in (1, 2):
        check(golden, tmp_path, index)


def test_what_was_said_later_is_read():
    store = kept.open_store(DATA / "later")
    version = store.version("digits:demo")
    assert version.index == 1
    assert version.metrics["test_acc@digits-test"] == version.metrics["test_acc"] == 0.75
    assert math.isnan(version.metrics["test_loss"])
    assert (version.description, version.tags) == ("the first good one", ("small",))
    assert version.metadata == {"epoch": 1, "reviewed": True}
    assert [note.text for note in version.notes] == ["looks right"]
    assert str(store.artifact("digits").best_rule) == "test_acc (max)"
    assert store.protected() == ["demo"]
    actions = [change.action for change in store.history("digits")]
    assert actions[:4] == ["restore", "remove", "rollback", "promote"]
    assert {change.by for change in store.history("digits")} >= {"ann@example"}
    copies = store.versions("other")
    assert [v.provenance for v in copies] == [{"python": "3.11.7", "framework": "jax"}] * 2
    assert [link.index for link in copies[0].uses] == [1]


def records(store):
    return sorted(Path(store.location).glob("artifacts/digits/log/*.json"))


def test_it_becomes_chained_as_it_grows(golden, tmp_path):
    golden.log_artifact("digits", write(tmp_path / "new" / "note.txt", b"new"))
    golden.set_alias("digits:v3", "prod")
    assert golden.verify().ok
    damaged = records(golden)[-2]  # the first record of this kept: the next one repeats its facts
    damaged.write_bytes(b"")
    fresh = kept.open_store(golden.location)
    assert not fresh.verify().ok
    check(fresh, tmp_path, 2)
    assert fresh.repair().lost == []
    fresh = kept.open_store(golden.location)
    assert fresh.verify().ok
    assert tree(fresh["digits:prod"].download(tmp_path / "o")) == {"note.txt": b"new"}


@pytest.mark.parametrize(
    "harm", [lambda b: bytes([b[0] ^ 1]) + b[1:] if b else b"x", lambda b: b[:50], None]
)
def test_each_file_is_repaired_from_a_mirror(golden, tmp_path, harm):
    mirror = kept.open_store(tmp_path / "mirror")
    golden.undelete("digits:v0")
    Sync(golden, mirror, "digits").run(Receipts(golden.bucket, mirror.location))
    golden.delete("digits:v0", force=True)
    Sync(golden, mirror, "digits").run(Receipts(golden.bucket, mirror.location))
    root = Path(golden.location)
    files = [p for p in root.rglob("*") if p.is_file() and p.parts[len(root.parts)] != "tmp"]
    assert len(files) > 10
    for path in files:
        before = path.read_bytes()
        path.unlink()
        if harm:
            path.write_bytes(harm(before))
        kept.open_store(root).repair([mirror.location])
        fresh = kept.open_store(root)
        assert fresh.verify().ok, path
        for index in (1, 2):
            check(fresh, tmp_path, index)
        fresh.undelete("digits:v0")
        check(fresh, tmp_path, 0)
        fresh.delete("digits:v0", force=True)


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

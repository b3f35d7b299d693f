"""What versions take, and what deleting each frees, against doing it in a copy and counting."""

from __future__ import annotations

import numpy as np
import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.store.blobs.blob import RAW, blob_key, read_blob, read_head
from tests.helpers import hdf5, write


@pytest.fixture
def mixed(tmp_path):
    """Coded blobs with bases, raw ones, packs, what versions and artifacts share, and a gap."""
    store, rng = kept.Store(MemoryBucket()), np.random.default_rng(0)
    base = rng.normal(0, 0.02, 300_000).astype("f4")
    head, still = rng.normal(size=1000).astype("f4"), rng.normal(size=300_000).astype("f4")
    for n in range(5):
        tensors = {"base": base + n * np.float32(1e-5), "head": head + n, "still": still}
        store.log_artifact("m", write(tmp_path / "m.h5", hdf5(tensors)))
    store.log_artifact("other", write(tmp_path / "m.h5", hdf5({"still": still, "head": head})))
    store.log_artifact("copy", store["m:v2"].download(tmp_path / "copy") / "m.h5")
    store.delete("m:v1", force=True)
    store.compact("m")
    store.log_artifact("m", write(tmp_path / "small", b"small"))
    store.gc(grace=0)
    return store


def copy_of(store):
    bucket = MemoryBucket()
    for key in store.bucket.keys(""):
        bucket.put(key, [store.bucket.get(key)])
    return kept.Store(bucket)


def content(store):
    """Bytes of all blobs and manifests."""
    return sum(i.size for top in ("blobs/", "manifests/") for i in store.bucket.items(top))


def test_what_deleting_each_version_frees_is_what_it_frees(mixed):
    found = mixed.usage()
    assert len(found.frees) == 7
    for (name, index), frees in found.frees.items():
        copy = copy_of(mixed)
        copy.delete(f"{name}:v{index}", force=True)
        copy.gc(grace=0)
        assert content(mixed) - content(copy) == frees, (name, index)
    assert mixed.usage("m").frees == {k: v for k, v in found.frees.items() if k[0] == "m"}
    # A base is freed by the deletion of no version that others are stored as differences to.
    assert min(found.frees["m", n] for n in (0, 2, 3, 4)) < 100_000 < found.stored


@pytest.mark.parametrize("name", [None, "m", "other"])
def test_the_sums_are_what_a_recount_finds(mixed, name):
    names = [name] if name else ["copy", "m", "other"]
    versions = [v for each in names for v in mixed.versions(each)]
    chunks = [c for v in versions for c in v.manifest.chunks()]
    needed = {c.blob for c in chunks}
    saved = {True: 0, False: 0}
    for blob in list(needed):
        here = blob
        while (found := read_head(mixed.bucket, here)) and found.base:
            here = found.base
            needed.add(here)
    for blob in needed:
        head = read_head(mixed.bucket, blob)
        if head.codec != RAW:
            raw = len(read_blob(mixed.bucket, blob)) + 16
            saved[head.base is not None] += raw - mixed.bucket.size(blob_key(blob))
    manifests = {v.record.manifest for v in versions}
    usage = mixed.usage(name)
    assert usage.logical == sum(v.size for v in versions)
    assert usage.dedup == usage.logical - sum({c.digest: c.size for c in chunks}.values())
    assert (usage.deltas, usage.compression) == (saved[True], saved[False])
    assert usage.stored == sum(mixed.bucket.size(blob_key(blob)) for blob in needed) + sum(
        mixed.bucket.size(f"manifests/{m[:2]}/{m}.json") for m in manifests
    )
    assert usage.logical + usage.overhead == (
        usage.stored + usage.dedup + usage.deltas + usage.compression
    )
    if name != "other":
        assert min(usage.dedup, usage.deltas, usage.compression) > 0


def test_what_is_all_there_is_stored(mixed):
    assert mixed.usage().stored == content(mixed)


def test_what_deleted_versions_keep_is_what_gc_frees(mixed):
    assert mixed.usage().deleted == 0  # gc has been there
    for reference in ("m:v0", "m:v2", "m:v3", "copy:v0"):
        mixed.delete(reference, force=True)
    found, of_m, of_copy = mixed.usage(), mixed.usage("m"), mixed.usage("copy")
    assert found.stored + found.deleted == content(mixed)
    before = content(mixed)
    mixed.gc(grace=0)
    assert before - content(mixed) == found.deleted > of_m.deleted > of_copy.deleted > 0
    assert mixed.usage().deleted == 0

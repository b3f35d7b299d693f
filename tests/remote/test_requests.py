"""What a version costs in requests: two for each changed chunk and eight, however long the log."""

from __future__ import annotations

import numpy as np
import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.sync.mirror.replicate import Sync
from kept.sync.outbox.deliver import Delivery
from kept.sync.outbox.outbox import Outbox
from tests.helpers import hdf5, write
from tests.servers.s3 import fill

CHANGED = (1, 4, 8)

# The requests of a commit besides its blobs, as docs/architecture.md lists them. One of them is the
# newest record once more: a repair may have replaced it since this process read it.
COMMIT = 8


@pytest.fixture
def tensors():
    """Each is a chunk, and a blob, of its own; what lies between them in the file is one pack."""
    return {f"t{n}": np.random.default_rng(n).random(300_000, np.float32) for n in range(12)}


def change(tensors, count, path):
    for n in range(count):
        tensors[f"t{n}"] = tensors[f"t{n}"] + 1
    return write(path, hdf5(tensors))


def in_a_long_log(path, length, location):
    """Make a store whose artifact has length versions, as far as a new version needs them."""
    source = kept.Store(MemoryBucket())
    version = source.log_artifact("m", path)
    made = {"event": "version", "type": "model", "digest": version.digest, "size": version.size}
    made |= {"manifest": version.record.manifest, "aliases": [], "metadata": {}}
    log = source.log("m")
    while (head := log.view().head) < length:
        log.append(made | {"index": head})
    last = [log.records.key(number) for number in range(length - 63, length + 1)]
    folders = ("artifacts/m/state/", "blobs/", "manifests/")
    keys = ["kept.json", *(k for f in folders for k in source.bucket.keys(f)), *last]
    fill(location, {key: source.bucket.get(key) for key in keys})


@pytest.mark.parametrize("length", [1, 1000, pytest.param(2000, marks=pytest.mark.integration)])
def test_of_a_version_in_a_short_and_in_a_long_log(proxy, s3, tensors, tmp_path, length):
    path = write(tmp_path / "model.h5", hdf5(tensors))
    in_a_long_log(path, max(length, 64), s3)
    store = kept.open_store(s3)
    with proxy.counted() as first:
        index = store.log_artifact("m", change(tensors, 1, path)).index
    # The log is read once: its pages are listed, and what comes after the last one is read.
    assert len(first) <= max(length, 64) % 64 + 20
    for number, changed in enumerate(CHANGED, start=index + 1):
        with proxy.counted() as made:
            assert store.log_artifact("m", change(tensors, changed, path)).index == number
        assert len(made) == 2 * changed + COMMIT, [r.method + r.path for r in made]


def test_of_a_checkpoint_from_the_outbox(proxy, s3, tensors, tmp_path):
    path = write(tmp_path / "model.h5", hdf5(tensors))
    in_a_long_log(path, 1000, s3)
    delivery = Delivery(kept.open_store(s3), Outbox(tmp_path / "outbox"))
    for number, changed in enumerate((1, *CHANGED)):
        label = {"type": "model", "aliases": ["best"], "metadata": {}}
        delivery.add("m", {"model.h5": str(change(tensors, changed, path))}, label)
        path.unlink()
        with proxy.counted() as made:
            delivery.send()
        assert not number or len(made) == 2 * changed + COMMIT


def test_of_a_mirrored_version(proxy, s3, tensors, tmp_path):
    here = kept.open_store(tmp_path / "here")
    path = write(tmp_path / "model.h5", hdf5(tensors))
    here.log_artifact("m", path)
    sync = Sync(here, kept.open_store(s3), "m")
    sync.run()
    for changed in CHANGED:
        here.log_artifact("m", change(tensors, changed, path))
        with proxy.counted() as made:
            sync.run()
        assert len(made) == 2 * changed + COMMIT - 1


def test_of_metrics_that_are_logged_later(proxy, s3, tensors, tmp_path):
    """A list, the newest record and the new one; a rule for best costs no request more."""
    path = write(tmp_path / "model.h5", hdf5(tensors))
    in_a_long_log(path, 1000, s3)
    store = kept.open_store(s3)
    version = store.version("m:v950").log_metrics({"acc": 0})
    with proxy.counted() as made:
        version = version.log_metrics({"acc": 0.5})
    assert len(made) == 3
    store.artifact("m").set_best("acc")
    with proxy.counted() as made:
        version = version.log_metrics({"acc": 0.6})
    assert len(made) == 3
    other = kept.open_store(s3)
    for number, changed in enumerate((1, *CHANGED)):
        with proxy.counted() as made:
            committed = other.log_artifact(
                "m", change(tensors, changed, path), metadata={"metrics": {"acc": number + 1}}
            )
        assert committed.aliases == ("latest", "best")
        assert not number or len(made) == 2 * changed + COMMIT

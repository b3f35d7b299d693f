"""Memory has a bound, however large the file: what is on its way, not what there is."""

from __future__ import annotations

import json
import shutil
import sys

import h5py
import numpy as np
import pytest

import kept
from tests.helpers import finish, start

MIB = 1024 * 1024
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
BOUND = 256 * MIB  # docs/remote.md states it, for each direction

RUN = """
import json, os, resource, sys
import h5py, numpy, obstore, kept  # what each process that stores such a file has loaded
from kept.sync.outbox.deliver import Delivery
from kept.sync.outbox.outbox import Outbox
from kept.sync.mirror.replicate import Sync
what, location, path, folder = sys.argv[1:]
store = kept.open_store(location)
def grown():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024
def reset():  # the highest is counted from here
    open("/proc/self/clear_refs", "w").write("5")
    return int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0]) * 1024
before = reset()
if what == "put":
    store.log_artifact("m", path)
elif what == "watched":
    store.log_artifact("m", path, progress=lambda done, total: None)
elif what == "get":
    store.version("m").download(folder)
elif what == "outbox":
    delivery = Delivery(store, Outbox(folder))
    delivery.add("o", {"big.h5": path}, {"type": "model", "aliases": [], "metadata": {}})
    delivery.send()
elif what == "up":
    Sync(kept.open_store(folder), store, "m").run()
elif what == "down":
    Sync(store, kept.open_store(folder), "m").run()
print(json.dumps(grown() - before))
"""


def big_file(path, size):
    """A file of tensors of 16 MiB, the largest blobs that there are, all different."""
    base = np.random.default_rng(0).random(4 * MIB, np.float32)
    with h5py.File(path, "w") as file:
        for n in range(size // (16 * MIB)):
            base[0] = n
            file.create_dataset(f"t{n}", data=base)
    return path


def used(what, location, path, folder):
    [line] = finish(start(RUN, what, location, path, folder))
    return json.loads(line)


@pytest.fixture
def big(tmp_path, s3, request):
    """A file, and the location of a store that is made."""
    kept.open_store(s3).create()
    yield big_file(tmp_path / "big.h5", request.param * MIB)
    (tmp_path / "big.h5").unlink()


@pytest.mark.parametrize("big", [384], indirect=True)
def test_there_and_back(s3, big, tmp_path):
    for what in ("put", "get"):
        assert used(what, s3, big, tmp_path / "out") < BOUND, what
    restored = tmp_path / "out" / "big.h5"
    assert restored.stat().st_size == big.stat().st_size > BOUND
    restored.unlink()


@pytest.mark.integration
@pytest.mark.parametrize("big", [1024], indirect=True)
@pytest.mark.parametrize("way", [["watched", "get"], ["outbox"], ["up", "down"]])
def test_a_gigabyte(s3, big, tmp_path, way):
    if "up" in way:
        kept.open_store(tmp_path / "here").log_artifact("m", big)
    for what in way:
        folder = tmp_path / ("here" if what == "up" else what)
        amount = used(what, s3, big, folder)
        print(what, amount // MIB, "MiB")
        assert amount < BOUND, what
        shutil.rmtree(folder, ignore_errors=True)

"""Forged manifests over real blobs, restored in a process that may take half a gigabyte more."""

import json
import os

import pytest

from tests.helpers import finish, start

FORGED = """
import contextlib, json, os, random, resource, shutil, sys
from pathlib import Path
from kept.bucket.local import LocalBucket
from kept.digest import digest
from kept.errors import Damaged
from kept.store.blobs.blob import blob_key, raw_form
from kept.store.blobs.codec import code_blob
from kept.store.blobs.header import MOST, Section
from kept.store.content.read_manifest import decode_manifest
from kept.store.content.restore import ChunkReader, restore

root, seed, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, used + 2**29))
resource.setrlimit(resource.RLIMIT_FSIZE, (2**27, 2**27))
chance, bucket = random.Random(seed), LocalBucket(root / "store")
raws = [chance.randbytes(size) for size in (3, 1000, 200_000)] + [bytes(MOST)]
names = [digest(raw) for raw in raws]
for raw, name in zip(raws, names):
    small = len(raw) == MOST
    bucket.put(blob_key(name), code_blob(raw, [Section(MOST, 8)]) if small else raw_form([raw]))
del raw, raws[3]
piece = digest(raws[2][5:105])
right = {
    "blobs": [names[2], names[3]],
    "files": [
        {"chunks": [[names[0], 3], [piece, 100, 0, 5]], "path": "a/b", "size": 103},
        {"chunks": [[names[1], 1000]], "path": "c", "size": 1000},
        {"chunks": [], "path": "d", "size": 0},
    ],
}
ODD = [None, True, -1, 0, 1, 2.5, 3, 7, 100, MOST, MOST + 1, 2**31, 2**40, 2**63 - 1, 2**63, 10**30,
       "", "x", "a/../../evil", "/tmp/evil", "a", "c", "d/e", "con", "\\0", "\\x7f", "x" * 5000,
       *names, piece, "0" * 64, names[0].upper(), [], {}, [[]], [names[0], 3], [names[3], MOST],
       [names[3], MOST, 1, 0], [names[2], 100, 0, 5], ["0" * 64, MOST], {"path": "f"}]

def mutated(value, most):
    places = [(value, key) for key in (value if isinstance(value, dict) else range(len(value)))]
    for inner, key in places:
        if isinstance(inner[key], (dict, list)):
            below = inner[key]
            keys = below if isinstance(below, dict) else range(len(below))
            places += [(below, key) for key in keys]
    if not places:
        return
    inner, key = chance.choice(places)
    kind = chance.random()
    if kind < 0.6:
        inner[key] = chance.choice(ODD)
    elif kind < 0.75:
        del inner[key]
    elif isinstance(inner, list):
        inner[key:key] = [inner[key]] * chance.choice([1, 2, most])

counts = {"damaged": 0, "restored": 0, "full": 0}
for _ in range(rounds):
    value = json.loads(json.dumps(right))
    for most in [3, 3, 40_000][chance.randint(0, 2) :]:
        mutated(value, most)
    if chance.random() < 0.5:  # so that sizes agree more often
        for number in range(3):
            with contextlib.suppress(Exception):
                file = value["files"][number]
                file["size"] = sum(chunk[1] for chunk in file["chunks"])
    data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    try:
        manifest = decode_manifest(data, "manifests/x.json", bucket)
        reader = ChunkReader(bucket)
        restore(bucket, manifest, root / "out", None)
        for chunk in dict.fromkeys(manifest.chunks()):
            assert digest(reader.read(chunk)) == chunk.digest
        counts["restored"] += 1
    except Damaged:
        counts["damaged"] += 1
    except OSError as error:
        assert error.errno == 27, error  # a file that is larger than the disk, of blobs that exist
        counts["full"] += 1
    finally:
        assert sorted(os.listdir(root)) in (["out", "store"], ["store"]), data
        shutil.rmtree(root / "out", ignore_errors=True)
print(json.dumps(counts))
"""


@pytest.mark.parametrize(
    ("seed", "rounds"), [(0, 60), pytest.param(1, 1000, marks=pytest.mark.integration)]
)
def test_a_forged_manifest_is_damage_or_gives_what_it_says(tmp_path, seed, rounds):
    [line] = finish(start(FORGED, tmp_path, seed, rounds))
    counts = json.loads(line)
    assert counts["damaged"] > rounds / 3
    assert counts["restored"]
    assert not os.path.lexists("/tmp/evil")

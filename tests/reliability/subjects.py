"""Stores that are made once, and then damaged as copies; what they hold is known byte by byte."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import json
import os
import pkgutil
import random
import shutil
from pathlib import Path
from unittest import mock

import numpy as np

import kept
import kept.cli
import kept.store
import kept.sync
from kept.bucket.local import LocalBucket
from kept.store.blobs.blob import bases_of, blob_key
from kept.store.content import manifest as manifest_module
from kept.store.content import packing
from kept.store.content.manifest import manifest_key
from kept.store.log import pages
from kept.store.log.fence import condemned
from kept.sync.mirror.mirrors import Mirror
from tests.helpers import hdf5, tree, write

GOLDEN = Path(__file__).parent.parent / "data" / "stores"


@dataclasses.dataclass
class Subject:
    """A store, what is in it, and which files each version depends on."""

    name: str
    root: Path  # the store lies in store/ below it, and its mirror, if it has one, in mirror/
    contents: dict[str, dict[str, bytes]] = dataclasses.field(default_factory=dict)
    aliases: dict[str, str] = dataclasses.field(default_factory=dict)  # name:alias → reference
    needs: dict[str, set[str]] = dataclasses.field(default_factory=dict)  # reference → keys
    deleted: list[str] = dataclasses.field(default_factory=list)  # that can be undeleted
    has_mirror: bool = False

    @property
    def store(self) -> Path:
        return self.root / "store"

    def files(self) -> list[str]:
        """Return the keys of the store."""
        found = (p.relative_to(self.store) for p in self.store.rglob("*") if p.is_file())
        return sorted(p.as_posix() for p in found if p.parts[0] != "tmp")

    def folders(self) -> list[str]:
        found = (p.relative_to(self.store) for p in self.store.rglob("*") if p.is_dir())
        return sorted(p.as_posix() for p in found if p.parts[0] != "tmp")

    def paged(self, key: str) -> bool:
        """Return whether a page holds a copy of this record."""
        folder, _, number = key.rpartition("/log/")
        ends = (p.stem for p in (self.store / folder / "state").glob("*.json"))
        return bool(number) and any(int(end) >= int(number.removesuffix(".json")) for end in ends)


def small_parts() -> None:
    """Make this process use small packs and pages, so that small stores have all parts."""
    packing.PACK_BELOW = 6000
    pages.PAGE, pages.BIG_PAGE = 8, 32


def prepare() -> None:
    """Prepare this process and its children for a suite."""
    small_parts()
    os.fsync = lambda _: None  # no power cut comes in these suites
    os.environ |= {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_EC2_METADATA_DISABLED": "true"}
    for part in (kept.bucket, kept.store, kept.sync, kept.cli):
        for module in pkgutil.walk_packages(part.__path__, f"{part.__name__}."):
            if "wandb" not in module.name:
                importlib.import_module(module.name)  # once, and not in each child
    "".encode("utf-16-be")  # the codec is a module, too, which another user may not be able to read


def kind(key: str) -> str:
    """Return what a file of a store is."""
    parts = key.split("/")
    if parts[0] == "artifacts" and len(parts) > 2:
        return {"log": "record", "state": "page"}.get(parts[2], "folder")
    names = {"blobs": "blob", "manifests": "manifest", "gc": "gc list", "outbox": "receipt",
             "new": "pending", "signatures": "signature", "tmp": "temporary"}  # fmt: skip
    return names.get(parts[0], parts[0])


def own(root: Path) -> Subject:
    """Make a store with every kind of file that kept writes."""
    store = kept.open_store(root / "store")
    chance, paths = np.random.default_rng(3), root / "given"
    base = chance.normal(0, 0.02, 4000).astype("f4")

    def put(name: str, n: int, *aliases: str) -> None:
        head = (base[:2500] + n * 1e-5).astype("f4")
        files = [
            write(paths / "model.weights.h5", hdf5({"base": base, "head": head})),
            write(paths / "notes.txt", b"%s %d " % (name.encode(), n) * 20),
            write(paths / "same.txt", b"the same in all"),
        ]
        store.log_artifact(
            name, files, aliases=aliases, metadata={"epoch": n, "value": 1 / (n + 1)}
        )

    mirror = Mirror(store, root / "mirror")
    for name in ("a", "b"):
        mirror.begin(name)
    for n in range(4):
        put("a", n, f"epoch_{n}", *(["best"] if n == 1 else []))
    for n in range(2):
        put("b", n, *(["prod"] if n == 0 else []))
    store.set_alias("a:v2", "best")
    store.delete("a:v1", force=True)
    store.undelete("a:v1")
    store.set_ttl("a:v3", "1000d")
    store.compact()
    put("a", 4)
    store.delete("a:v0", force=True)
    put("b", 2)
    store.delete("b:v1")
    killed_gc(store)
    put("a", 5)
    store.delete("a:v5")
    put("a", 6, "last")
    put("c", 0, "only")
    _put_many(store, paths / "many")
    mirror.begin("c")
    mirror.begin("many")
    for name in ("a", "b", "c", "many"):
        mirror.courier.wake(name)
    mirror.courier.finish()
    shutil.rmtree(paths)
    subject = described("own", root)
    subject.has_mirror = True
    return subject


def _put_many(store: kept.Store, folder: Path) -> None:
    """Store two versions whose list of files is in parts."""
    for n in range(20):
        write(folder / f"{n}.txt", b"%d" % n)
    few = {"MOST_FILES": 10, "_PART_ENDS": b"\x40\0"}
    with mock.patch.multiple(manifest_module, **few):
        store.log_artifact("many", sorted(folder.iterdir()))
        write(folder / "7.txt", b"changed")
        store.log_artifact("many", sorted(folder.iterdir()))


def killed_gc(store: kept.Store) -> None:
    """Leave what a gc leaves that is killed before it deletes anything: its list and its fences."""
    with mock.patch.object(LocalBucket, "delete", side_effect=KeyboardInterrupt):
        store.bucket.put(f"blobs/00/{'0' * 64}", [b"left over"])
        try:
            store.gc(grace=0)
        except KeyboardInterrupt:
            return
    raise AssertionError("the gc was not killed")


def golden(name: str, root: Path) -> Subject:
    """Copy a store of an earlier kept."""
    shutil.copytree(GOLDEN / name, root / "store")
    return described(name, root)


def described(name: str, root: Path) -> Subject:
    """Look up what a healthy store holds."""
    store = kept.open_store(root / "store")
    assert store.verify().ok
    subject = Subject(name, root)
    out = root / "described"
    for artifact in store.artifacts():
        for version in artifact.versions():
            subject.contents[version.reference] = tree(
                version.download(out / version.name / version.version)
            )
            subject.aliases |= {f"{version.name}:{a}": version.reference for a in version.aliases}
            subject.needs[version.reference] = _needs(store, version)
        for version in store.deleted(artifact.name):
            if can_be_undeleted(store, version):
                subject.deleted.append(version.reference)
    shutil.rmtree(out, ignore_errors=True)
    return subject


def can_be_undeleted(store: kept.Store, version: kept.Version) -> bool:
    """Return whether a deleted version has its content, and no gc is about to delete it."""
    key = manifest_key(version.record.manifest)
    return store.bucket.size(key) is not None and key not in condemned(store.bucket)


def _needs(store: kept.Store, version: kept.Version) -> set[str]:
    blobs = {chunk.blob for chunk in version.manifest.chunks()}
    bases = {base for blob in blobs for base in bases_of(store.bucket, blob)}
    keys = {manifest_key(version.record.manifest), *map(blob_key, blobs | bases)}
    for path in (Path(store.location) / "artifacts" / version.name / "log").iterdir():
        event = json.loads(path.read_bytes())["value"]
        if event["event"] != "alias" and event["index"] == version.index:
            keys.add(f"artifacts/{version.name}/log/{path.name}")
    return keys


def sibling(subject: Subject, key: str) -> str | None:
    """Return another file of the same kind, of another artifact if there is one."""
    needed = set[str]().union(*subject.needs.values())
    same = [k for k in subject.files() if kind(k) == kind(key) and k != key]
    same = [k for k in same if k in needed] or same
    other = [k for k in same if k.split("/")[1] != key.split("/")[1]]
    close = sorted(
        other or same, key=lambda k: (k.split("/")[-1] != key.rsplit("/", maxsplit=1)[-1], k)
    )
    return next(iter(close), None)


def of_each_kind(subject: Subject, most: int, seed: int = 1) -> list[str]:
    """Return some random files of each kind."""
    chance, found = random.Random(seed), []
    for _, keys in itertools.groupby(sorted(subject.files(), key=kind), key=kind):
        every = list(keys)
        chance.shuffle(every)
        found += every[:most]
    return sorted(found)

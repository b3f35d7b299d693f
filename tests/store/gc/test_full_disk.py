"""Deleting and gc on a disk without a free byte, and reading where nothing can be written."""

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import kept
from kept.bucket import reserve
from kept.store.content import packing
from kept.store.gc import collector
from tests.bucket.full_disk import BLOCK, FullDisk
from tests.cli.conftest import Command
from tests.helpers import tree, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
ROOT = Path(__file__).parents[3]


@pytest.fixture
def location(tmp_path, monkeypatch):
    """Three artifacts of three versions; each version has 30 blobs of its own."""
    monkeypatch.setattr(packing, "PACK_BELOW", 100)
    store = kept.open_store(tmp_path / "store")
    for name in "abc":
        for _ in range(3):
            content = [os.urandom(3000) for _ in range(30)]
            paths = [write(tmp_path / "given" / f"{i}", data) for i, data in enumerate(content)]
            store.log_artifact(name, paths)
    return store.location


@pytest.fixture
def disk(location, monkeypatch):
    return FullDisk(monkeypatch, location)


def held(location):
    return os.path.getsize(f"{location}/tmp/reserve")


def lists(location):
    return os.listdir(f"{location}/gc")


def test_saving_does_not_use_the_reserve(location, disk, tmp_path):
    with pytest.raises(OSError, match="No space left on device") as caught:
        kept.open_store(location).log_artifact("a", write(tmp_path / "new", b"new"))
    assert location in caught.value.filename
    assert held(location) == reserve.SIZE


def test_a_version_is_deleted_and_its_bytes_freed(location, disk, tmp_path):
    kept.open_store(location).delete("a:v0")
    assert held(location) > reserve.SIZE // 2
    found = kept.open_store(location).gc(grace=0)
    assert found.bytes > 90_000
    assert held(location) == reserve.SIZE
    assert lists(location) == []
    assert disk.refused
    store = kept.open_store(location)
    assert store.verify().problems == []
    assert store.log_artifact("a", write(tmp_path / "new", b"new")).reference == "a:v3"


def test_rules_delete_versions(location, disk):
    store = kept.open_store(location)
    store.prune("b", kept.Keep(last=1))
    assert [version.index for version in store.versions("b")] == [2]
    assert store.gc(grace=0).bytes > 180_000
    assert store.verify().problems == []


def test_expired_versions_go(location, disk):
    disk.capacity += 4
    store = kept.open_store(location)
    store.set_ttl("c:v0", 0)
    disk.capacity = disk.used()
    assert store.gc(grace=0).expired == ("c:v0",)
    assert store.verify().problems == []


@pytest.mark.parametrize("few", [7, 16])
def test_a_list_that_does_not_fit_is_done_in_rounds(location, disk, monkeypatch, few):
    for name in "abc":
        kept.open_store(location).delete(f"{name}:v0")
        kept.open_store(location).delete(f"{name}:v1")
    monkeypatch.setattr(collector, "_FEW", few)
    monkeypatch.setattr(reserve, "SIZE", 16 * 1024)
    with open(f"{location}/tmp/reserve", "r+b") as file:
        file.truncate(6 * BLOCK)  # a list of all keys takes 4 blocks, and then no fence has room
    disk.capacity = disk.used()
    found = kept.open_store(location).gc(grace=0)
    assert len(found.doomed) == 6 * 31
    assert lists(location) == []
    store = kept.open_store(location)
    assert store.verify().problems == []
    assert not store.gc(grace=0).doomed
    fences = [e for e in store.logs.of("a").view().backwards() if "gc" in e]
    assert len(fences) > 1


def test_what_does_not_fit_leaves_nothing_behind(location, disk):
    """Without room for the fences gc fails, but its list does not take the room of the next."""
    kept.open_store(location).delete("a:v0")
    with open(f"{location}/tmp/reserve", "r+b") as file:
        file.truncate(BLOCK)
    disk.capacity = disk.used()
    for _ in range(3):
        before = disk.used()
        with pytest.raises(OSError, match="No space left on device"):
            kept.open_store(location).gc(grace=0)
        assert lists(location) == []
        assert disk.used() <= before
    assert kept.open_store(location).verify().problems == []


def test_a_dry_run_writes_nothing(location, disk, monkeypatch):
    kept.open_store(location).delete("a:v0")
    before = tree(Path(location))
    writes = []
    for name in ("mkdir", "link", "replace", "unlink", "rename"):
        monkeypatch.setattr(os, name, lambda *args, name=name: writes.append((name, args)))
    planned = kept.open_store(location).gc(grace=0, dry_run=True)
    monkeypatch.undo()
    assert tree(Path(location)) == before
    assert writes == []
    assert {d.key for d in planned.doomed} == {
        d.key for d in kept.open_store(location).gc(grace=0).doomed
    }


# --- a store that is read-only --------------------------------------------------------------------

READING = [
    ("ls",),
    ("ls", "a", "--all"),
    ("show", "a:v2"),
    ("get", "a:v2", "out"),
    ("verify",),
    ("verify", "a:v2"),
    ("verify", "--sample", "50%"),
    ("du",),
    ("du", "a"),
    ("gc", "--dry-run"),
    ("repair",),
    ("sync", "--status"),
    ("prune", "a", "--keep-last", "1", "--dry-run"),
]


def test_reading_commands_do_not_even_try_to_write(location, tmp_path, monkeypatch):
    kept.open_store(location).delete("a:v0")
    tried = []

    def refuse(name, is_write):
        real = getattr(os, name)

        def call(path, *args, **options):
            if str(path).startswith(location) and is_write(*args):
                tried.append((name, path))
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
            return real(path, *args, **options)

        monkeypatch.setattr(os, name, call)

    refuse("open", lambda flags, *_: flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    for name in ("mkdir", "unlink", "rename", "replace", "link"):
        refuse(name, lambda *_: True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEPT_STORE", location)
    for command in READING:
        Command()(*command)
    assert tried == []


# --- real file systems ----------------------------------------------------------------------------

REAL = """
set -e
mount -t tmpfs -o size=6m none {small}
cp -r {store}/. {small}
export KEPT_STORE={small}
KEPT="{python} -m kept"
dd if=/dev/zero of={small}/tmp/ballast bs=4096 2>/dev/null || true
df --output=avail {small} | tail -1
! $KEPT put b {python} 2>&1 | tail -1
$KEPT gc --dry-run > /dev/null
for name in a b; do for n in 0 1; do $KEPT rm $name:v$n --yes; done; done
$KEPT gc --grace 0s
stat -c %s {small}/tmp/reserve
mount -o remount,ro {small}
{reading}
"""


@pytest.mark.integration
def test_a_real_disk_that_is_full_and_then_read_only(location, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    commands = [shlex.join(["$KEPT", *c]).replace("'$KEPT'", "$KEPT") for c in READING]
    reading = "\n".join(f"{command} > /dev/null" for command in commands)
    script = REAL.format(
        small=small, store=location, python=sys.executable, reading=reading
    )  # fmt: skip
    can = ["unshare", "-rm", "sh", "-c", f"mount -t tmpfs none {small}"]
    if subprocess.run(can, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here: it takes root, or user namespaces")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False,
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    lines = done.stdout.splitlines()
    assert lines[0].strip() == "0"
    assert "No space left on device" in lines[1]
    assert int(lines[-1]) == reserve.SIZE

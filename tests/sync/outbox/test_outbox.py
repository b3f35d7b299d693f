"""The outbox: entries are whole or missing, in order, without a second copy of the bytes."""

from __future__ import annotations

import os
import re
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kept.errors import Damaged, DamageWarning, InvalidMetadata, InvalidPath
from kept.store.encoding import seal, unseal
from kept.sync.outbox import outbox as outbox_module
from kept.sync.outbox.entry import DamagedEntry
from kept.sync.outbox.outbox import Outbox, default_folder
from tests.helpers import finish, start, tree, write

CONTENT = {"artifact": "m", "metadata": {"loss": 0.5}}


@pytest.fixture
def outbox(tmp_path):
    return Outbox(tmp_path / "outbox")


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "m.keras", b"weights" * 1000)


def leftovers(folder):
    names = re.compile(r"(tmp-|\.kept-outbox-)[0-9a-f]+")
    return [path for path in folder.rglob("*") if names.fullmatch(path.name)]


def test_an_entry_is_there_until_it_is_confirmed(outbox, file):
    added = outbox.add("there", {"m.keras": file, "more/state.json": file}, CONTENT)
    assert Outbox(outbox.folder).entries() == [added]
    [entry] = outbox.entries("there")
    assert outbox.entries("elsewhere") == []
    assert (entry.destination, entry.info, entry.artifact) == ("there", CONTENT, "m")
    assert [(f.path, f.size) for f in entry.files] == [("m.keras", 7000), ("more/state.json", 7000)]
    assert entry.size == 14000
    entry.check()
    outbox.confirm(entry)
    outbox.confirm(entry)
    assert outbox.entries() == []
    assert not os.path.exists(outbox.folder)


def test_the_bytes_are_linked_and_survive_what_happens_to_the_file(outbox, file):
    entry = outbox.add("there", {"m.keras": file}, CONTENT)
    assert os.path.samefile(entry.files[0].file, file)
    write(file.with_name("new"), b"other").replace(file)
    entry.check()
    file.unlink()
    with open(entry.files[0].file, "rb") as kept_bytes:
        assert kept_bytes.read() == b"weights" * 1000


@pytest.mark.parametrize("data", [b"weightZ" * 1000, b""])
def test_a_file_written_in_place_is_found_out(outbox, file, data):
    os.utime(file, (1, 1))  # long ago, whatever the resolution of the clock
    entry = outbox.add("there", {"m.keras": file}, CONTENT)
    file.write_bytes(data)
    with pytest.raises(Damaged, match="changed in place"):
        entry.check()


def test_the_order_is_that_of_adding_over_objects_and_processes(outbox, file):
    code = """
import sys
from kept.sync.outbox.outbox import Outbox
folder, file, first = sys.argv[1:]
for n in range(3):
    Outbox(folder).add("there", {"m": file}, {"artifact": "m", "n": int(first) + n})
"""
    for first in (0, 3):
        finish(start(code, outbox.folder, file, first))
    outbox.confirm(outbox.entries()[0])
    finish(start(code, outbox.folder, file, 6))
    assert [entry.info["n"] for entry in outbox.entries()] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_many_threads_add_and_confirm_at_once(outbox, file):
    def work(n):
        for _ in range(10):
            outbox.confirm(Outbox(outbox.folder).add(f"to {n}", {"m": file}, CONTENT))
        return outbox.add(f"to {n}", {"m": file}, CONTENT)

    with ThreadPoolExecutor(6) as pool:
        left = list(pool.map(work, range(6)))
    assert sorted(outbox.entries(), key=lambda e: e.destination) == left
    assert len({entry.number for entry in left}) == 6
    assert leftovers(file.parent) == []


KILLED = """
import os, sys
from kept.sync.outbox import outbox
def sync(path):
    print("linked", flush=True)
    sys.stdin.read()
outbox.sync_file = sync
outbox.Outbox(sys.argv[1]).add("there", {"m": sys.argv[2]}, {"artifact": "m"})
"""


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_killed_process_leaves_nothing_half(outbox, file, elsewhere, shared_memory):
    if elsewhere:
        file = write(shared_memory / "m.keras", b"x")
    entry = outbox.add("there", {"m": file}, CONTENT)
    killed = start(KILLED, outbox.folder, file)
    assert killed.stdout.readline() == "linked\n"
    outbox.tidy()
    assert len(leftovers(file.parent)) == (2 if elsewhere else 1), "its writer lives"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert outbox.entries() == [entry]
    outbox.tidy()
    assert outbox.entries() == [entry]
    outbox.confirm(entry)
    assert leftovers(file.parent) == []
    assert not os.path.exists(outbox.folder)


@pytest.fixture
def shared_memory():
    """A folder on another file system than the tests' own."""
    import shutil
    import tempfile

    folder = tempfile.mkdtemp(prefix="kept-test-", dir="/dev/shm")
    try:
        from pathlib import Path

        yield Path(folder)
    finally:
        shutil.rmtree(folder)


def test_on_another_file_system_the_bytes_are_linked_over_there(outbox, shared_memory):
    if os.stat(shared_memory).st_dev == os.stat(os.path.dirname(outbox.folder)).st_dev:
        pytest.skip("one file system only")
    file = write(shared_memory / "work" / "m.keras", b"weights")
    entry = outbox.add("there", {"m.keras": file}, CONTENT, beside=shared_memory)
    assert os.path.samefile(entry.files[0].file, file)
    file.unlink()
    file.parent.rmdir()
    [entry] = outbox.entries()
    entry.check()
    assert tree(shared_memory) == {f".kept-outbox-{entry.write_id}/0": b"weights"}
    outbox.confirm(entry)
    assert list(shared_memory.iterdir()) == []


def test_without_hard_links_the_bytes_are_copied(outbox, file, monkeypatch):
    def link(*_):
        raise PermissionError(1, "no hard links here")

    monkeypatch.setattr(outbox_module.os, "link", link)
    entry = outbox.add("there", {"m": file}, CONTENT)
    assert not os.path.samefile(entry.files[0].file, file)
    file.write_bytes(b"")
    entry.check()


def test_what_cannot_be_added_leaves_nothing(outbox, file):
    for files, content, error in [
        ({"../m": file}, CONTENT, InvalidPath),
        ({"m": file}, CONTENT | {"model": object()}, InvalidMetadata),
        ({"m": file.with_name("none")}, CONTENT, FileNotFoundError),
    ]:
        with pytest.raises(error):
            outbox.add("there", files, content)
    assert outbox.entries() == []
    outbox.tidy()
    assert not os.path.exists(outbox.folder)


def test_a_damaged_entry_is_reported_stays_and_stops_no_other(outbox, file):
    entry = outbox.add("there", {"m": file}, CONTENT)
    other = outbox.add("there", {"m": file}, CONTENT)
    record = os.path.join(entry.folder, "entry.json")
    whole = unseal(Path(record).read_bytes(), record)
    wrong = [
        b'{"blake3":"',
        *(seal({k: v for k, v in whole.items() if k != key}) for key in whole),
        *(seal(whole | {key: 7}) for key in whole),
        seal(whole | {"files": [["../m", 1, 1]]}),
        seal(whole | {"time": "yesterday"}),
        seal(whole | {"content": {"artifact": "a/b"}}),
        seal([]),
    ]
    for data in wrong:
        write(file.with_name("x"), data).replace(record)
        with pytest.warns(DamageWarning, match=entry.write_id):
            assert outbox.entries() == [other]
    os.unlink(record)
    with pytest.warns(DamageWarning, match="missing"):
        assert outbox.entries() == [other]
    assert os.path.isdir(entry.folder)


def test_a_link_that_the_outbox_did_not_make_is_not_followed(outbox, file, tmp_path):
    entry = outbox.add("there", {"m": file}, CONTENT)
    precious = write(tmp_path / "precious" / "data", b"x").parent
    files = os.path.join(entry.folder, "files")
    shutil.rmtree(files)
    os.symlink(precious, files)
    outbox.confirm(entry)
    assert tree(precious) == {"data": b"x"}
    assert not os.path.exists(entry.folder)


CLAIMS = r"""
import os, sys, time
from kept.sync.outbox.outbox import Outbox
with Outbox(sys.argv[1]).draining("there") as mine:
    worker = os.fork()
    if worker == 0:  # of a data loader, say, that outlives its parent
        os.write(1, b"forked\n")
        time.sleep(600)
        os._exit(0)
    # One call for a line: print makes two with PYTHONUNBUFFERED, and the lines get mixed.
    os.write(1, b"%r %d\n" % (mine, worker))
    sys.stdin.read()
"""


def test_one_process_at_a_time_sends_to_a_destination(outbox):
    claims = start(CLAIMS, outbox.folder)
    forked, claim = sorted((claims.stdout.readline() for _ in range(2)), reverse=True)
    mine, worker = claim.split()
    assert (forked, mine) == ("forked\n", "True")
    with outbox.draining("there") as mine, outbox.draining("elsewhere") as other:
        assert (mine, other) == (False, True)
        with outbox.draining("elsewhere") as again:
            assert not again, "another thread is another sender"
    claims.send_signal(signal.SIGKILL)
    claims.wait()
    try:
        with outbox.draining("there") as mine:
            assert mine, "though the worker lives"
        assert not os.path.exists(outbox.folder)
    finally:
        os.kill(int(worker), signal.SIGKILL)
        claims.communicate()


def test_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KEPT_OUTBOX", raising=False)
    assert default_folder() == str(tmp_path / "kept-outbox") == Outbox().folder
    monkeypatch.setenv("KEPT_OUTBOX", "there")
    assert Outbox().folder == str(tmp_path / "there")


def test_looking_makes_nothing(outbox):
    assert outbox.entries() == []
    outbox.tidy()
    assert not os.path.exists(outbox.folder)


def test_a_copied_outbox_is_what_it_was(tmp_path):
    """As by cp -rL, scp -r, tar -h or zip: other times, other inodes, no links."""
    write(tmp_path / "m.keras", b"content")
    outbox = Outbox(tmp_path / "outbox")
    outbox.add("wherever", {"m.keras": tmp_path / "m.keras"}, {"artifact": "a"})
    shutil.copytree(outbox.folder, tmp_path / "copy", copy_function=shutil.copyfile)
    [entry] = Outbox(tmp_path / "copy").entries()
    os.utime(entry.files[0].file, (1, 1))
    entry.check()
    write(tmp_path / "other", b"changed").replace(entry.files[0].file)
    os.utime(entry.files[0].file, (1, 1))
    with pytest.raises(DamagedEntry, match="changed in place"):
        entry.check()

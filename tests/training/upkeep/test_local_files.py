"""keep_local: which files stay at filepath, and that nothing else is ever removed."""

from __future__ import annotations

import os
from pathlib import Path

import keras
import pytest

import kept
from kept.errors import InvalidCheckpoint
from kept.store.content.compare import holds
from kept.store.content.packing import PACK_BELOW
from kept.store.receipts import Receipts
from kept.training.upkeep.local_files import LocalFiles
from tests.helpers import write
from tests.training.helpers import fit

pytestmark = pytest.mark.any_framework

ON = pytest.mark.parametrize("where", ["folder", "s3"])


@pytest.fixture
def anywhere(where, request, tmp_path, monkeypatch):
    """The location of a new store."""
    monkeypatch.setenv("KEPT_OUTBOX", str(tmp_path / "outbox"))
    return str(tmp_path / "store") if where == "folder" else request.getfixturevalue("s3")


def callback(store, keep_local, path="files/{epoch:02d}.keras", **options):
    options = {"monitor": "none", "mode": "max", "name": "m"} | options
    return kept.ModelCheckpoint(path, store=store, keep_local=keep_local, **options)


def files(folder="files"):
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


def test_without_local_files(model, data, store):
    checkpoint = kept.ModelCheckpoint(
        "files/{epoch}.keras", monitor="loss", name="m", store=store, keep_local=False
    )
    model.fit(*data, epochs=2, verbose=0, callbacks=[checkpoint])
    assert os.listdir("files") == []
    assert len(store.versions("m")) == 2
    store.version("m").load_model()


@ON
def test_a_number_of_files_stays_and_every_version(anywhere, model, data):
    fit(model, data, callback(anywhere, 2), epochs=5)
    store = kept.open_store(anywhere)
    assert files() == ["04.keras", "05.keras"]
    assert [version.index for version in store.versions("m")] == [0, 1, 2, 3, 4]
    assert store.verify().problems == []
    keras.saving.load_model("files/05.keras")


@ON
def test_it_goes_on_after_a_resume(anywhere, model, data):
    fit(model, data, callback(anywhere, True), epochs=4)
    write(Path("files/02.keras"), b"another program's")
    os.utime("files/03.keras")  # compared by what it holds
    Path("files/05.keras").write_bytes(Path("files/01.keras").read_bytes())
    again = callback(anywhere, kept.Keep(last=1), resume=True)
    fit(model, data, again, epochs=6)
    assert files() == ["02.keras", "06.keras"]
    assert Path("files/02.keras").read_bytes() == b"another program's"


def test_rules_count_versions_that_have_a_file(model, data, store):
    fit(model, data, callback(store, True), epochs=4)
    os.unlink("files/02.keras")
    os.unlink("files/03.keras")
    fit(model, data, callback(store, 2, resume=True), epochs=5)
    assert files() == ["04.keras", "05.keras"]
    fit(model, data, callback(store, kept.Keep(every="3 epochs"), resume=True), epochs=7)
    # Of those that have a file: 4 is the first after 3, 6 the first after 6, and 7 the newest.
    assert files() == ["04.keras", "06.keras", "07.keras"]
    fit(model, data, callback(store, kept.Keep(bytes=1), resume=True), epochs=8)
    assert files() == ["08.keras"]


def test_what_no_retention_takes_keeps_its_file(model, data, store):
    """The best, a pinned one, and what a mirror has not confirmed."""
    fit(model, data, callback(store, True, monitor="loss", mode="min"), epochs=3)
    best = store["m:best"].metadata["epoch"] + 1
    store.set_alias("m:v0", "pinned")
    fit(model, data, callback(store, 1, resume=True, monitor="acc"), epochs=5)
    assert files() == sorted({"01.keras", f"{best:02d}.keras", "05.keras"})
    store.remove_alias("m", "pinned")
    Receipts(store.bucket, "s3://b/p").confirm("m", 1, -1)
    fit(model, data, callback(store, 1, resume=True, monitor="acc"), epochs=7)
    assert {"01.keras", "05.keras", "06.keras", "07.keras"} <= set(files())


def test_files_of_other_artifacts_and_of_nobody_stay(model, data, store):
    fit(model, data, callback(store, True, "files/other-{epoch}.keras", name="other"), epochs=2)
    write(Path("files/notes.txt"), b"notes")
    write(Path("files/07.keras"), b"from elsewhere")
    fit(model, data, callback(store, 1), epochs=3)
    assert files() == ["03.keras", "07.keras", "notes.txt", "other-1.keras", "other-2.keras"]


def test_a_file_whose_version_could_not_be_committed_stays(model, data, store, monkeypatch):
    real = kept.Store.log_artifact

    def fail_once(self, *args, aliases, **options):
        if "epoch_1" in aliases:
            raise OSError("no")
        return real(self, *args, aliases=aliases, **options)

    monkeypatch.setattr(kept.Store, "log_artifact", fail_once)
    with pytest.warns(UserWarning, match="continues without it"):
        fit(model, data, callback(store, 1, on_error="warn"), epochs=4)
    assert files() == ["02.keras", "04.keras"]


def test_in_object_storage_a_file_waits_for_the_arrival_of_its_version(
    s3, model, data, tmp_path, monkeypatch
):
    from kept.sync.outbox.deliver import Delivery

    monkeypatch.setenv("KEPT_OUTBOX", str(tmp_path / "outbox"))
    with monkeypatch.context() as away:
        away.setattr(Delivery, "send", lambda *_, **__: None)
        fit(model, data, callback(s3, 1), epochs=3)
        assert files() == ["01.keras", "02.keras", "03.keras"]
    fit(model, data, callback(s3, 1, "files/{epoch:02d}.keras"), epochs=4)
    assert files() == ["04.keras"]
    assert len(kept.open_store(s3).versions("m")) == 7


def test_when_retention_has_deleted_a_version_its_file_goes_by_the_local_rule(model, data, store):
    fit(model, data, callback(store, 3, keep=kept.Keep(last=1), gc=0), epochs=5)
    assert files() == ["03.keras", "04.keras", "05.keras"]
    assert [version.index for version in store.versions("m")] == [4]


def test_also_where_a_gc_has_been_there_before(model, data, store):
    """Of a version without a manifest nobody can tell any more what its file should be."""
    fit(model, data, callback(store, True), epochs=4)
    again = callback(store, 3, resume=True, keep=kept.Keep(last=1), gc=None)
    gc = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: (again.wait(), store.gc(grace=0)))
    fit(model, data, again, gc, epochs=7)
    assert files() == ["05.keras", "06.keras", "07.keras"]


def test_a_file_of_a_version_whose_content_is_gone_stays(model, data, store):
    fit(model, data, callback(store, True), epochs=3)
    for index in range(2):
        store.delete(f"m:v{index}", force=True)
    store.gc(grace=0)
    fit(model, data, callback(store, 1, resume=True), epochs=4)
    assert files() == ["01.keras", "02.keras", "04.keras"]


def test_a_path_without_options_is_one_file_and_stays(model, data, store):
    fit(model, data, callback(store, 1, "m.keras"), epochs=3)
    assert os.path.exists("m.keras")


def test_a_save_by_the_clock_and_that_of_its_epoch_are_one_file(model, data, store):
    fit(model, data, callback(store, 2, save_every=1e-9), epochs=4)
    assert len(store.versions("m")) > 8
    assert files() == ["03.keras", "04.keras"]


def test_a_repeated_epoch_takes_the_place_of_the_first(model, data, store):
    fit(model, data, callback(store, True), epochs=4)
    fit(model, data, callback(store, 2, resume="m:v1"), epochs=3)
    assert files() == ["03.keras", "04.keras"]  # of v4 and v3


def test_a_file_that_somebody_takes_away_at_once_fails_no_save(model, data, store, monkeypatch):
    from kept.training.save import write_checkpoint

    real = write_checkpoint.publish

    def publish(file, place, path):
        real(file, place, path)
        os.unlink(path)

    monkeypatch.setattr(write_checkpoint, "publish", publish)
    fit(model, data, callback(store, 1), epochs=3)
    assert (files(), len(store.versions("m"))) == ([], 3)


def test_metrics_in_the_path(model, data, store):
    fit(model, data, callback(store, 1, "files/{loss}-{epoch}.keras"), epochs=3)
    assert len(files()) == 1
    fit(model, data, callback(store, True, "files/{loss:.3f}-{epoch}.keras"), epochs=2)
    fit(model, data, callback(store, 1, "files/{loss:.3f}-{epoch}.keras", resume=True), epochs=3)
    assert len(files()) == 2


def test_large_files_are_compared_as_a_whole(store, tmp_path):
    content = os.urandom(3 * PACK_BELOW + 5)
    version = store.log_artifact("m", write(tmp_path / "given" / "f.keras", content))
    path = write(tmp_path / "f.keras", content)
    held, files = {file.path: file for file in version.files}, {"f.keras": str(path)}
    assert holds(held, files)
    for wrong in (content[:-1] + bytes([content[-1] ^ 1]), content[:-1], content + b"x"):
        path.write_bytes(wrong)
        assert not holds(held, files)
    path.write_bytes(content)
    assert not holds({}, files)
    assert not holds(held, {})
    known = {}
    assert holds(held, files, known)
    path.write_bytes(bytes(len(content)))
    assert holds(held, files, known), "no byte is read twice"


def test_a_file_that_is_replaced_while_it_is_compared_stays(model, data, store, monkeypatch):
    from kept.training.upkeep import local_files

    fit(model, data, callback(store, True), epochs=2)

    def replaced(held, files):
        found = holds(held, files)
        write(Path("files/new"), b"new").rename(*files.values())
        return found

    monkeypatch.setattr(local_files, "holds", replaced)
    fit(model, data, callback(store, 1, resume=True), epochs=3)
    assert Path("files/01.keras").read_bytes() == b"new"


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="has no SavedModel")
def test_folders_go_as_a_whole(model, data, store):
    fit(model, data, callback(store, 1, "files/{epoch}"), epochs=3)
    assert files() == ["3"]
    assert sorted(os.listdir("files")) == ["3"]


def test_versions_of_other_programs_are_no_obstacle(model, data, store, tmp_path):
    store.log_artifact("m", write(tmp_path / "by-hand", b"x"))
    for n, odd in enumerate(
        ({"epoch": "first"}, {"metrics": [1]}, {"metrics": "none", "batch": 2})
    ):
        told = {"epoch": n, "batch": None, "metrics": {}} | odd
        store.log_artifact("m", write(tmp_path / "by-hand", b"%d" % n), metadata=told)
    fit(model, data, callback(store, 1), epochs=2)
    assert files() == ["02.keras"]


def test_a_rule_that_fails_ends_no_training(model, data, store, monkeypatch, capsys):
    def fail(*_):
        raise OSError("read-only")

    monkeypatch.setattr(LocalFiles, "tidy", fail)
    fit(model, data, callback(store, 1), epochs=2)
    assert "old files of m could not be removed, they stay: read-only" in capsys.readouterr().out
    assert len(store.versions("m")) == 2


@pytest.mark.parametrize("value", ["no", -1, 1.5, None])
def test_bad_values(value):
    with pytest.raises(InvalidCheckpoint, match=r"keep_local is True, False, a number.*Received"):
        kept.ModelCheckpoint("m.keras", keep_local=value)

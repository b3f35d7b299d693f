"""Repair: every record, manifest and blob that something proves or copies comes back."""

import json
import shutil

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import Damaged
from kept.store.encoding import seal, unseal
from kept.store.receipts import Receipts
from kept.store.repair.plan import ASIDE
from kept.store.repair.repair import drop_replaced
from kept.sync.mirror.replicate import Sync
from tests.helpers import Wrapped, tree, write

BIG = 2_000_000


@pytest.fixture
def store(tmp_path):
    """Two artifacts with versions, aliases, a deletion and an expiry; most tensors are shared."""
    store = kept.open_store(tmp_path / "store")
    base = write(tmp_path / "in" / "base.bin", bytes(range(256)) * (BIG // 256))
    for name in ("a", "b"):
        for n in range(4):
            head = write(tmp_path / "in" / "head.txt", f"{name} {n}".encode())
            metadata = {"epoch": n, "loss": 1 / (n + 1)}
            store.log_artifact(name, [base, head], aliases=[f"e{n}"], metadata=metadata)
    follow(store, tmp_path)
    store.set_alias("a:v1", "prod")
    store.delete("a:v0", force=True)
    store.set_ttl("a:v2", "7d")
    return store


@pytest.fixture
def mirror(store, tmp_path):
    return follow(store, tmp_path)


def follow(store, tmp_path):
    target = kept.open_store(tmp_path / "mirror")
    for name in ("a", "b"):
        Sync(store, target, name).run(Receipts(store.bucket, target.location))
    return target


def facts(store):
    """Return all that users see of a store."""
    return {
        name: [(v.reference, v.record) for v in store.versions(name) + store.deleted(name)]
        for name in ("a", "b")
    }


def contents(store, tmp_path):
    out = tmp_path / "out"
    found = {}
    for name in ("a", "b"):
        for version in store.versions(name):
            shutil.rmtree(out, ignore_errors=True)
            found[version.reference] = tree(version.download(out))
    return found


def bytes_of(store):
    bucket = store.bucket
    # A repair that writes kept.json anew gives the store a new id.
    others = (ASIDE, "outbox/", "gc/damaged-", "kept.json")
    keys = [key for key in bucket.keys("") if not key.startswith(others)]
    return {key: bytes(bucket.get(key)) for key in keys}


def flip(data, at=None):
    changed = bytearray(data)
    changed[len(data) // 2 if at is None else at] ^= 4
    return bytes(changed)


HARMS = {
    "flip": flip,
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "noise": lambda data: b"\x00\xff" * 40,
    "lost": None,
}


def harm(store, key, kind):
    path = store.bucket._path(key)
    data = HARMS[kind] and HARMS[kind](store.bucket.get(key))
    store.bucket.delete(key)
    if data is not None:
        with open(path, "wb") as file:
            file.write(data)


def keys(store):
    return [key for key in store.bucket.keys("") if not key.startswith("outbox/")]


@pytest.mark.parametrize("kind", HARMS)
def test_every_key_comes_back_from_a_mirror(store, mirror, tmp_path, kind):
    before, wanted = bytes_of(store), facts(store)
    data = contents(store, tmp_path)
    for key in keys(store):
        harm(store, key, kind)
        fresh = kept.open_store(store.location)
        plan = fresh.repair([mirror.location])
        assert (len(plan.steps), plan.lost) == (1, []), (key, plan)
        assert kept.open_store(store.location).verify().ok, key
        assert bytes_of(store) == before, key
    assert facts(kept.open_store(store.location)) == wanted
    assert contents(store, tmp_path) == data


@pytest.mark.parametrize("kind", HARMS)
def test_every_record_comes_back_from_the_one_after_it(store, tmp_path, kind):
    before, wanted, data = bytes_of(store), facts(store), contents(store, tmp_path)
    last = store.log("a").view().head
    for number in range(1, last):
        harm(store, store.log("a").records.key(number), kind)
        plan = kept.open_store(store.location).repair()
        assert (len(plan.steps), plan.lost) == (1, [])
        fresh = kept.open_store(store.location)
        assert fresh.verify().ok
        found = facts(fresh)
        for (_, record), (_, original) in zip(found["a"], wanted["a"], strict=True):
            metadata = {k: v for k, v in record.metadata.items() if k != "kept_repair"}
            assert metadata in ({}, original.metadata)
            assert record._replace(metadata=original.metadata) == original
        assert contents(fresh, tmp_path) == data
        assert kept.open_store(store.location).repair().is_empty
        for key, value in before.items():
            store.bucket.put(key, [value])


def test_one_wrong_bit_in_a_record_is_corrected_exactly(store):
    before = bytes_of(store)
    for number in (1, store.log("a").view().head):
        key = store.log("a").records.key(number)
        for place in range(0, len(before[key]), 7):
            store.bucket.put(key, [flip(before[key], place)])
            kept.open_store(store.location).repair()
            assert bytes_of(store) == before


@pytest.mark.parametrize("kind", HARMS)
def test_the_last_record_of_a_version_comes_back_by_its_content(store, tmp_path, file, kind):
    head = write(tmp_path / "in" / "head.txt", b"the last one")
    store.log_artifact("a", [tmp_path / "in" / "base.bin", head], aliases=["best"])
    number = store.log("a").view().head
    harm(store, store.log("a").records.key(number), kind)
    fresh = kept.open_store(store.location)
    if kind == "lost":  # nothing shows that it ever existed, without a mirror or a page
        assert fresh.version("a").index == 3
        return
    with pytest.raises(Damaged, match=r"it is v3; name a:v3"):
        fresh.version("a")
    fresh.repair()
    fresh = kept.open_store(store.location)
    assert fresh.verify().ok
    assert tree(fresh["a:v4"].download(tmp_path / "o"))["head.txt"] == b"the last one"


def test_swapped_records_go_back_to_their_places(store):
    before = bytes_of(store)
    pairs = [("a", 1, "b", 1), ("a", 2, "a", 3), ("a", 2, "b", 3)]
    for name, number, other, another in pairs:
        one, two = store.log(name).records.key(number), store.log(other).records.key(another)
        store.bucket.put(one, [before[two]])
        store.bucket.put(two, [before[one]])
        assert not kept.open_store(store.location).verify().ok
        plan = kept.open_store(store.location).repair()
        assert {step.why for step in plan.steps} == {"found in another place"}
        assert bytes_of(store) == before


def test_swapped_blobs_and_manifests_go_back_to_their_places(store):
    before = bytes_of(store)
    for folder in ("blobs/", "manifests/"):
        one, two, *_ = store.bucket.keys(folder)
        store.bucket.put(one, [before[two]])
        store.bucket.put(two, [before[one]])
        plan = kept.open_store(store.location).repair()
        if folder == "blobs/":
            assert (len(plan.steps), plan.lost) == (2, [])
            assert bytes_of(store) == before
        for key, value in before.items():
            store.bucket.put(key, [value])


def test_blobs_come_back_from_checkpoint_files(store, tmp_path):
    before = bytes_of(store)
    for key in store.bucket.keys("blobs/"):
        if len(before[key]) > 1_000_000:
            harm(store, key, "cut")
    plan = kept.open_store(store.location).repair([tmp_path / "in"])
    assert plan.lost == []
    assert any("base.bin" in step.why for step in plan.steps)
    assert bytes_of(store) == before


def test_a_blob_that_no_source_has_is_set_aside_and_the_next_save_writes_it(store, tmp_path):
    base = tmp_path / "in" / "base.bin"
    key = max(store.bucket.keys("blobs/"), key=store.bucket.size)
    harm(store, key, "flip")
    plan = kept.open_store(store.location).repair()
    assert [problem.where[0] for problem in plan.lost] == ["b"] or plan.lost
    assert store.bucket.size(key) is None
    assert store.bucket.size(ASIDE + key) is not None
    fresh = kept.open_store(store.location)
    assert not fresh.verify().ok
    fresh.log_artifact("a", [base, write(tmp_path / "in" / "head.txt", b"new")])
    assert fresh.verify().ok


def test_an_error_that_passes_costs_nothing(store, monkeypatch):
    """The disk fails while the repair is planned, and works again when it is carried out."""
    from kept.store.repair.repair import carry_out, plan_repair

    before = bytes_of(store)
    blob = max(store.bucket.keys("blobs/"), key=store.bucket.size)
    manifest = next(store.bucket.keys("manifests/"))
    for key in (blob, manifest, store.log("a").records.key(3), store.log("b").records.key(4)):

        class Failing(Wrapped):
            def get(self, name, *args, key=key):
                if name == key:
                    raise Damaged(f"{name} cannot be read: Input/output error")
                return self.inner.get(name, *args)

        plan, sources = plan_repair(Failing(store.bucket))
        assert plan.steps or plan.lost, key
        carry_out(store.bucket, plan, sources)
        assert bytes_of(store) == before, key


def test_a_dry_run_changes_nothing_and_nothing_is_replaced_without_a_copy(store, tmp_path):
    key = store.log("a").records.key(2)
    harm(store, key, "cut")
    damaged = store.bucket.get(key)
    before = tree(tmp_path / "store")
    assert kept.open_store(store.location).repair(dry_run=True).steps
    assert tree(tmp_path / "store") == before
    kept.open_store(store.location).repair()
    assert store.bucket.get(ASIDE + key) == damaged


def test_a_whole_store_needs_no_repair(store, mirror):
    assert store.repair().is_empty
    assert store.repair([mirror.location]).is_empty


def test_a_repair_that_is_cut_off_anywhere_can_run_again(store, mirror, tmp_path):
    before = bytes_of(store)
    damaged = [store.log("a").records.key(2), store.log("b").records.key(1),
               *list(store.bucket.keys("manifests/"))[:2], *list(store.bucket.keys("blobs/"))[:2],
               "kept.json"]  # fmt: skip

    class Killed(BaseException):
        pass

    class Dying:
        def __init__(self, inner, calls):
            self.inner, self.left = inner, calls

        def __getattr__(self, name):
            found = getattr(self.inner, name)
            if name not in ("put", "move", "put_if_absent", "delete"):
                return found

            def call(*args):
                self.left -= 1
                if self.left < 0:
                    raise Killed
                return found(*args)

            return call

    from kept.store.repair.repair import carry_out, plan_repair

    for calls in range(40):
        for key in damaged:
            harm(store, key, "cut")
        bucket = Dying(store.bucket, calls)
        plan, sources = plan_repair(bucket, [mirror.bucket])
        try:
            carry_out(bucket, plan, sources)
            is_done = True
        except Killed:
            is_done = False
        kept.open_store(store.location).repair([mirror.location])
        assert kept.open_store(store.location).verify().ok
        assert bytes_of(store) == before
        drop_replaced(store.bucket)
        if is_done:
            break
    else:
        pytest.fail("the repair never ended")


def test_two_versions_of_one_number_get_two_numbers(tmp_path, file):
    """An earlier kept did that after a record was lost; its records have no chain."""
    bucket = MemoryBucket()
    store = kept.Store(bucket)
    for n in range(3):
        store.log_artifact("m", file(f"v{n}".encode()))
    log = store.log("m")
    for number in (1, 2, 3):
        event = unseal(bucket.get(log.records.key(number)), "")
        unchained = {k: event[k] for k in event if k not in ("previous", "artifact")}
        if number == 2:
            unchained["index"] = 2
        bucket.put(log.records.key(number), [seal(unchained)])
    assert [v.index for v in kept.Store(bucket).versions("m")] == [0, 2]
    with pytest.raises(Damaged, match="so does a later record"):
        kept.Store(bucket).gc(grace=0)
    kept.Store(bucket).repair()
    fresh = kept.Store(bucket)
    assert fresh.verify().ok
    assert fresh.gc(grace=0).doomed == ()
    assert tree(fresh["m:v3"].download(tmp_path / "o")) == {"model.bin": b"v1"}
    assert [v.index for v in fresh.versions("m")] == [0, 2, 3]
    assert fresh.log_artifact("m", file(b"more")).index == 4


def test_what_lies_beyond_the_log_is_set_aside(store):
    before = bytes_of(store)
    key = store.log("a").records.key(10**15)
    store.bucket.put(key, [before[store.log("a").records.key(1)]])
    fresh = kept.open_store(store.location)
    with pytest.raises(Damaged):
        fresh.set_alias("a:v1", "x")
    plan = fresh.repair()
    assert [(step.key, type(step).__name__) for step in plan.steps] == [(key, "SetAside")]
    assert bytes_of(store) == before


def test_the_command(store, mirror, tmp_path):
    from click.testing import CliRunner

    from kept.cli.main import cli

    def run(*args):
        return CliRunner().invoke(cli, ["--store", store.location, "repair", *args])

    assert run().output == "Nothing is damaged.\n"
    harm(store, store.log("a").records.key(3), "empty")
    planned = run("--from", mirror.location)
    assert planned.exit_code == 4
    assert (
        "write artifacts/a/log/00000000000000000003.json: copied from the mirror" in planned.output
    )
    assert "Pass --yes" in planned.output
    done = run("--from", mirror.location, "--yes", "--json")
    assert done.exit_code == 0
    shape = json.loads(done.stdout)
    assert (shape["done"], len(shape["steps"]), shape["lost"]) == (True, 1, [])
    assert kept.open_store(store.location).verify().ok
    assert "1 value deleted" in run("--drop-replaced").output
    assert run("--from", str(tmp_path / "no-such")).exit_code == 2


def test_an_artifact_that_has_lost_all_its_files_comes_back_by_its_mirror(store, mirror, tmp_path):
    before = bytes_of(store)
    shutil.rmtree(tmp_path / "store" / "artifacts" / "a")
    assert not kept.open_store(store.location).verify().ok
    assert kept.open_store(store.location).repair([mirror.location]).lost == []
    assert bytes_of(store) == before


def test_a_mirror_shows_that_the_last_record_is_lost(store, mirror, tmp_path, file):
    version = store.log_artifact("a", file(b"the last one"))
    follow(store, tmp_path)
    harm(store, store.log("a").records.key(store.log("a").view().head), "lost")
    fresh = kept.open_store(store.location)
    for refused in (lambda: fresh.gc(grace=0), lambda: follow(fresh, tmp_path)):
        with pytest.raises(Damaged, match="the last record is lost"):
            refused()
    fresh.repair([mirror.location])
    fresh = kept.open_store(store.location)
    assert fresh.version("a").record == version.record
    fresh.gc(grace=0)
    assert fresh.verify().ok


def test_content_of_a_deleted_version_that_is_lost_is_given_up(store):
    [*_, blob] = store.deleted("a")[0].manifest.chunks()
    harm(store, f"blobs/{blob.blob[:2]}/{blob.blob}", "cut")
    assert not kept.open_store(store.location).verify().ok
    plan = kept.open_store(store.location).repair()
    assert [problem.where for problem in plan.lost] == ["a:v0"]
    fresh = kept.open_store(store.location)
    assert fresh.verify().ok
    assert fresh.repair().is_empty

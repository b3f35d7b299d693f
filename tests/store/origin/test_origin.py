"""The origin of versions in the log: stored once, read again, carried by copies."""

from __future__ import annotations

import pytest

import kept
from kept.errors import InvalidInput
from kept.store.log.events import check_event
from kept.store.origin import origin as origins
from kept.store.origin.links import Link
from kept.store.origin.origin import Origin, origin_from
from kept.sync.mirror.replicate import Sync

CODE = {"git": {"commit": "1" * 40}, "command": "train.py"}
OTHER = {"git": {"commit": "2" * 40}}


def put(store, data, provenance=None, name="m", **options):
    capture = Origin(provenance, **options)
    return store.log_artifact(name, kept.MemoryFile("f", [data]), capture=capture)


def stated(store, name="m"):
    return [v.record.origin.get("provenance") for v in store.versions(name)]


def test_an_equal_provenance_is_stored_once(store):
    for n, provenance in enumerate([CODE, CODE, OTHER, OTHER, CODE, None, CODE]):
        version = put(store, b"%d" % n, provenance)
        assert version.provenance == (provenance or {})
    # Only the last one is remembered beside those in the tail.
    assert stated(store) == [CODE, 0, OTHER, 2, 0, None, 0]
    assert [v.provenance for v in store.versions("m")] == [
        CODE, CODE, OTHER, OTHER, CODE, {}, CODE
    ]  # fmt: skip


def test_another_process_finds_it_again(tmp_path):
    for n in range(3):
        put(kept.open_store(tmp_path / "s"), b"%d" % n, CODE)
    assert stated(kept.open_store(tmp_path / "s")) == [CODE, 0, 0]


def test_a_long_log_keeps_it_too(store, small_pages):
    for n in range(40):
        put(store, b"%d" % n, CODE)
    assert stated(store) == [CODE] + [0] * 39
    assert kept.Store(store.bucket).version("m").provenance == CODE
    for number, event in enumerate(reversed([*store.log("m").view().items()]), start=1):
        check_event(event, "m", number)


def test_two_writers_at_once_each_refer_to_what_is_there(tmp_path):
    one, two = kept.open_store(tmp_path / "s"), kept.open_store(tmp_path / "s")
    for n in range(4):
        put(one, b"a%d" % n, CODE)
        put(two, b"b%d" % n, OTHER)
    found = kept.open_store(tmp_path / "s").versions("m")
    assert [v.provenance for v in found] == [CODE, OTHER] * 4
    assert sum(isinstance(v.record.origin["provenance"], dict) for v in found) == 2


def test_the_content_and_a_repetition_do_not_depend_on_it(store):
    first = put(store, b"1", CODE)
    again = put(store, b"1", OTHER)
    assert (again.is_new, again.reference, again.provenance) == (False, "m:v0", CODE)
    assert put(store, b"1", OTHER, name="n").digest == first.digest


def test_without_capture_nothing_is_recorded(store):
    version = store.log_artifact("m", kept.MemoryFile("f", [b"1"]), capture=False)
    assert (version.provenance, version.parent, version.uses) == ({}, None, ())
    assert version.record.origin == {}
    event = next(iter(store.log("m").view().items()))
    assert not {"provenance", "parent", "uses"} & event.keys()


def test_a_lost_record_leaves_it_unknown(store):
    put(store, b"1", CODE)
    second = put(store, b"2", CODE)
    lost = second.record._replace(origin={"provenance": 7})
    assert origins.provenance_of(store.log("m").view(), lost) == {}
    damaged = second.record._replace(origin={"provenance": 1})  # an index of an index
    assert origins.provenance_of(store.log("m").view(), damaged) == {}


def test_a_parent_of_an_earlier_kept_is_in_the_metadata(store):
    for noted, expected in (
        ({"reference": "m:v3", "digest": "a" * 64}, Link("m", 3, "a" * 64)),
        ({"reference": "m:v3"}, Link("m", 3)),
        ({"reference": "m:best", "digest": "a" * 64}, None),
        ({"reference": 5}, None),
        ({"reference": "m:v3", "digest": "no digest"}, None),
        ("m:v3", None),
    ):
        version = store.log_artifact(
            "m", kept.MemoryFile("f", [repr(noted).encode()]), metadata={"parent": noted}
        )
        assert version.parent == expected


def test_an_entry_of_an_outbox_carries_it():
    origin = Origin(CODE, Link("m", 1, "a" * 64), (Link("d", 0, "b" * 64), kept.Source("x")))
    assert origin_from(origin.facts()) == origin
    assert origin_from({}) == Origin()
    assert origin_from({"parent": {"uri": "x"}, "uses": 5, "provenance": 3}) == Origin()


def test_mirrors_have_it(store, tmp_path):
    link = Link("base", 0, "b" * 64)
    put(store, b"1", CODE, parent=Link("m", 9, "c" * 64), uses=(link,))
    put(store, b"2", CODE)
    mirror = kept.open_store(tmp_path / "mirror")
    for copy in ("m", "m-2"):
        Sync(store, mirror, "m", copy).run()
        first, second = mirror.versions(copy)
        assert (first.provenance, second.provenance) == (CODE, CODE)
        assert (first.uses, str(first.parent)) == ((link,), "m:v9")
    assert mirror.verify().problems == []
    put(mirror, b"3", CODE)
    assert mirror.version("m:v2").record.origin == {"provenance": 0}


def test_on_s3(s3):
    store = kept.open_store(s3)
    put(store, b"0", CODE, name="base")
    store.log_artifact("m", kept.MemoryFile("f", [b"1"]), uses=["base:v0", f"{s3}/base:latest"])
    version = kept.open_store(s3).version("m")
    assert [str(link) for link in version.uses] == ["base:v0"]
    assert version.provenance["command"]
    assert [node.reference for node in version.lineage().up] == ["base:v0"]


def test_what_is_captured_is_a_bool_or_an_origin(store):
    with pytest.raises(InvalidInput, match="capture"):
        store.log_artifact("m", kept.MemoryFile("f", [b"1"]), capture="no")

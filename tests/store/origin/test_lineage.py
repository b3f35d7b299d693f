"""The lineage of versions, up and down, through artifacts and stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import kept
from kept.store.origin.links import Link
from kept.store.origin.origin import Origin
from kept.sync.mirror.replicate import Sync

if TYPE_CHECKING:
    from kept.store.origin.lineage import Lineage

GONE = "f" * 64
_STAMP = ("write_id", "number", "previous", "time")


def put(store, name, data, *, parent=None, uses=()):
    """Log a version; parent and uses name versions of the same store, or are links."""

    def link(given):
        if isinstance(given, Link):
            return given
        version = store.version(given)
        return Link(version.name, version.index, version.digest)

    origin = Origin(None, parent and link(parent), tuple(map(link, uses)))
    return store.log_artifact(name, kept.MemoryFile("f", [data]), capture=origin)


def shape(node: Lineage, direction: str) -> list:
    """A tree as nested lists: relation, reference and state, then what follows."""
    return [
        [" ".join((each.relation, each.reference, each.state)), *shape(each, direction)]
        for each in getattr(node, direction)
    ]


@pytest.fixture
def family(store):
    put(store, "data", b"d")
    put(store, "m", b"0", uses=["data:v0"])
    put(store, "m", b"1", parent="m:v0", uses=["data:v0"])
    put(store, "ensemble", b"e", uses=["m:v0", "m:v1"])
    return store


def test_both_directions(family):
    found = family.version("m:v1").lineage()
    assert shape(found, "up") == [
        ["parent m:v0 exists", ["uses data:v0 exists"]],
        ["uses data:v0 repeated"],
    ]
    assert shape(found, "down") == [["used by ensemble:v0 exists"]]
    assert found.reference == "m:v1"
    assert found.aliases == ("latest",)
    down = family.version("data:v0").lineage()
    assert down.up == []
    assert shape(down, "down") == [
        [
            "used by m:v0 exists",
            ["used by ensemble:v0 exists"],
            ["resumed by m:v1 exists", ["used by ensemble:v0 repeated"]],
        ],
        ["used by m:v1 repeated"],
    ]


def test_one_direction(family):
    version = family.version("m:v0")
    assert version.lineage(up=False).up == []
    assert version.lineage(down=False).down == []


def test_as_json(family):
    shown = family.version("m:v0").lineage().as_json()
    assert shown["up"][0]["reference"] == "data:v0"
    assert shown["up"][0]["relation"] == "uses"
    assert shown["up"][0]["digest"] == family.version("data:v0").digest
    assert shown["down"][0]["down"] == []
    assert shown["relation"] is None


def test_a_deleted_version_is_marked_and_its_origin_is_known(family):
    family.delete("m:v0")
    found = family.version("m:v1").lineage()
    assert shape(found, "up")[0] == ["parent m:v0 deleted", ["uses data:v0 exists"]]


def test_what_is_not_in_the_store(store):
    put(store, "base", b"0")
    store.log_artifact(
        "m",
        kept.MemoryFile("f", [b"1"]),
        capture=Origin(
            None,
            Link("base", 0, GONE),  # another content than the store has now
            (Link("never", 0, GONE), Link("base", None, None, "prod"), kept.Source("s3://b/k")),
        ),
    )
    assert shape(store.version("m").lineage(), "up") == [
        ["parent base:v0 missing"],
        ["uses never:v0 missing"],
        ["uses base:prod not resolved"],
        ["uses s3://b/k source"],
    ]
    assert store.version("base:v0").lineage().down == []


def test_other_stores(store, tmp_path):
    other = kept.open_store(tmp_path / "other")
    put(other, "data", b"d")
    base = put(other, "base", b"0", uses=["data:v0"])
    store.log_artifact("m", kept.MemoryFile("f", [b"1"]), uses=[base])
    [node] = store.version("m").lineage().up
    assert (node.reference, node.store) == ("base:v0", other.location)
    assert (node.up[0].reference, node.up[0].store) == ("data:v0", other.location)
    (tmp_path / "other").rename(tmp_path / "away")
    [node] = store.version("m").lineage().up
    assert (node.reference, node.state, node.up) == ("base:v0", "there is no store", [])
    put(kept.open_store(tmp_path / "other"), "base", b"0")
    [node] = store.version("m").lineage().up
    assert node.state == "another store is there now"
    (tmp_path / "other/kept.json").write_text("{}")
    [node] = store.version("m").lineage().up
    assert node.state.startswith(("cannot be read", "another store"))


def test_a_server_that_is_away_is_named(store, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr("kept.store.origin.lineage._SECONDS", 0.1)
    put(store, "m", b"1", uses=[Link("base", 0, GONE, store="s3://bucket/store")])
    [node] = store.version("m").lineage().up
    assert node.state.startswith("cannot be read")
    assert node.store == "s3://bucket/store"


def test_a_copy_under_another_name_finds_its_own_versions(store, tmp_path):
    put(store, "m", b"0")
    put(store, "m", b"1", parent="m:v0")
    target = kept.open_store(tmp_path / "target")
    put(target, "m", b"something else")
    Sync(store, target, "m", "m-2").run()
    assert shape(target.version("m-2:v1").lineage(), "up") == [["parent m-2:v0 exists"]]
    assert shape(target.version("m-2:v0").lineage(), "down") == [["resumed by m-2:v1 exists"]]
    assert target.version("m:v0").lineage().down == []


def test_a_renamed_artifact_is_found_by_its_new_name(family):
    family.rename("data", "images")
    assert shape(family.version("m:v0").lineage(), "up") == [["uses images:v0 exists"]]
    assert shape(family.version("images:v0").lineage(), "down")[0][0] == "used by m:v0 exists"
    family.rename("m", "digits")
    found = shape(family.version("images:v0").lineage(), "down")
    assert [each[0] for each in found] == ["used by digits:v0 exists", "used by digits:v1 repeated"]


def test_a_new_run_under_the_old_name_keeps_the_lineage_of_the_old_one(store):
    put(store, "run", b"0")
    put(store, "run", b"1", parent="run:v0")
    put(store, "child", b"c", uses=["run:v0", "run:v1"])
    store.delete("run:v0")
    store.rename("run", "run-old")
    put(store, "run", b"2")
    store.rename("run", "run-older")
    put(store, "run", b"3", uses=["run-older:v2"])
    assert shape(store["child:v0"].lineage(), "up") == [
        ["uses run-old:v0 deleted"],
        ["uses run-old:v1 exists", ["parent run-old:v0 repeated"]],
    ]
    assert shape(store["run-old:v1"].lineage(), "down") == [["used by child:v0 exists"]]
    assert shape(store["run-older:v2"].lineage(), "down") == [["used by run:v3 exists"]]
    assert store["run:v3"].lineage().down == []


def test_an_artifact_that_was_renamed_to_and_fro(family):
    family.delete("m:v0")
    before = [shape(family.version(each).lineage(), "down") for each in ("data:v0", "m:v1")]
    up = shape(family.version("ensemble:v0").lineage(), "up")
    for name in ("data", "m"):
        family.rename(name, f"{name}-2")
        family.rename(f"{name}-2", name)
    after = [shape(family.version(each).lineage(), "down") for each in ("data:v0", "m:v1")]
    assert after == before
    assert shape(family.version("ensemble:v0").lineage(), "up") == up


def test_a_circle_ends(store):
    first = put(store, "a", b"0")
    later = put(store, "x", b"later")  # the content that b:v0 will have
    event = next(store.log("a").view().items())
    plain = {k: v for k, v in event.items() if k not in _STAMP}
    link = Link("b", 0, later.digest).as_json()
    store.log("a").append({**plain, "index": 1, "uses": [link]})
    put(store, "b", b"later", uses=[Link("a", 1, first.digest)])
    found = store.version("b:v0").lineage()
    assert shape(found, "up") == [["uses a:v1 exists", ["uses b:v0 repeated"]]]
    assert shape(found, "down") == [["used by a:v1 exists", ["used by b:v0 repeated"]]]


def test_a_chain_of_thousands_needs_no_recursion(store):
    put(store, "m", b"0")
    before = store.version("m:v0")
    event = next(store.log("m").view().items())
    plain = {k: v for k, v in event.items() if k not in _STAMP}
    for n in range(1, 1500):
        link = Link("m", n - 1, before.digest).as_json()
        store.log("m").append({**plain, "index": n, "parent": link})
    found, depth = store.version("m:v1499").lineage(), 0
    shown = found.as_json()
    while shown["up"]:
        [shown] = shown["up"]
        depth += 1
    assert depth == 1499

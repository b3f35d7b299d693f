"""What a version uses: the forms that users name, and the links that are stored."""

from __future__ import annotations

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import ArtifactNotFound, InvalidInput, InvalidReference, NotFound, VersionNotFound
from kept.store.origin.links import Link, Source, link_in, links_in
from kept.store.origin.uses import unresolved, wanted

DIGEST = "a" * 64


def put(store, name, data, **options):
    return store.log_artifact(name, kept.MemoryFile("f", [data]), **options)


def test_versions_of_the_same_store(store):
    base = put(store, "base", b"0", aliases=["prod"])
    put(store, "base", b"1")
    used = ["base:v0", "base", base]
    found = put(store, "m", b"2", uses=used).uses
    assert [str(link) for link in found] == ["base:v0", "base:v1"]
    assert found[0] == Link("base", 0, base.digest)
    by_alias = put(store, "m", b"3", uses=["base:prod"]).uses
    assert by_alias == (Link("base", 0, base.digest, "prod"),)
    by_digest = put(store, "m", b"4", uses=[f"base@{base.digest[:8]}"]).uses
    assert by_digest == (Link("base", 0, base.digest),)
    assert store.version("m:v2").uses == by_digest


def test_the_link_stays_when_the_alias_moves(store):
    put(store, "base", b"0", aliases=["prod"])
    put(store, "m", b"1", uses=["base:prod"])
    put(store, "base", b"2", aliases=["prod"])
    assert store.version("m").uses[0].index == 0


def test_a_version_of_another_store(store, tmp_path):
    other = kept.open_store(tmp_path / "other")
    base = put(other, "base", b"0", aliases=["x"])
    expected = Link("base", 0, base.digest, None, other.location, other.logs.marker.id)
    assert put(store, "m", b"1", uses=[base]).uses == (expected,)
    by_name = put(store, "m", b"2", uses=[f"{other.location}/base:v0"]).uses
    assert by_name == (expected,)
    assert str(by_name[0]) == f"{other.location}/base:v0"
    again = kept.open_store(other.location).version("base")
    here = put(other, "m", b"3", uses=[f"{other.location}/base:x", again])
    assert here.uses == (Link("base", 0, base.digest, "x"),)


def test_a_source(store):
    source = kept.Source("s3://bucket/data.parquet", "sha256:ab12")
    version = put(store, "m", b"1", uses=[source, kept.Source("https://u:p@host/d?sig=x")])
    assert version.uses == (source, Source("https://***@host/d?sig=***"))
    assert version.record.origin["uses"][0] == {
        "uri": "s3://bucket/data.parquet",
        "digest": "sha256:ab12",
    }


@pytest.mark.parametrize(
    ("uses", "error", "message"),
    [
        ("base:v0", InvalidInput, "uses is a list"),
        (kept.Source("x"), InvalidInput, "uses is a list"),
        (5, InvalidInput, "uses is a list"),
        ([5], InvalidInput, "Received: 5"),
        (["a b"], InvalidReference, "'LOCATION/NAME:v3'"),
        (["https://host/data.csv"], InvalidReference, r"kept\.Source"),
        (["s3://bucket/base"], InvalidReference, "s3://bucket/base:v3"),
        (["nope/base"], InvalidReference, "nope/base:v3"),
        (["gone"], ArtifactNotFound, "No artifact 'gone'"),
        (["base:v7"], VersionNotFound, r"uses=\['base:v7'\]"),
        (["/nowhere/base:v0"], NotFound, "no store in /nowhere"),
        ([f"base:v{n}" for n in range(1001)], InvalidInput, "at most 1000"),
    ],
)
def test_what_names_nothing_is_refused_before_anything_is_stored(store, uses, error, message):
    put(store, "base", b"0")
    with pytest.raises(error, match=message):
        put(store, "m", b"1", uses=uses)
    assert [artifact.name for artifact in store.artifacts()] == ["base"]


@pytest.mark.parametrize("named", ["data.csv", "./data.csv", "sub/data.csv", "sub"])
def test_a_file_is_never_hashed_silently(store, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for path in ("data.csv", "sub/data.csv"):
        (tmp_path / path).write_text("1")
    for given in (named, tmp_path / named):
        with pytest.raises((InvalidInput, NotFound), match=r"kept put .*--type dataset"):
            put(store, "m", b"1", uses=[given])


def test_an_artifact_with_the_name_of_a_file_counts(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").write_text("1")
    put(store, "data", b"0")
    assert put(store, "m", b"1", uses=["data"]).uses[0].artifact == "data"


def test_a_deleted_version_cannot_be_used(store):
    put(store, "base", b"0")
    put(store, "base", b"1")
    store.delete("base:v0")
    with pytest.raises(VersionNotFound, match="was deleted"):
        put(store, "m", b"1", uses=["base:v0"])


@pytest.mark.parametrize("uri", ["", " x", "a\nb", 5, "x" * 3000])
def test_a_uri_is_a_line_of_text(uri):
    with pytest.raises(InvalidInput, match="uri"):
        Source(uri)


@pytest.mark.parametrize("digest", ["", "abc", "sha256:", "sha 256:ab", 5])
def test_a_digest_has_a_scheme(digest):
    with pytest.raises(InvalidInput, match="scheme"):
        Source("x", digest)


def test_what_a_newer_kept_links_to_is_left_out():
    known = Link("m", 3, DIGEST)
    values = [
        known.as_json(),
        {"future": 1},
        {"artifact": "..", "index": 1},
        5,
        {"artifact": "m", "index": -1},
        {"uri": ""},
        {"artifact": "m", "digest": "x"},
    ]
    assert links_in(values) == (known,)
    assert links_in(None) == ()
    assert link_in(Source("x", "md5:1").as_json()) == Source("x", "md5:1")


def test_names_stay_if_no_store_can_be_reached(store):
    here = put(store, "base", b"0")
    elsewhere = put(kept.Store(MemoryBucket()), "other", b"1")
    source = Source("x")
    named = wanted(["base:prod", "base:v3", f"base@{DIGEST}", "s3://b/s/m:v1", here, elsewhere,
                    source])  # fmt: skip
    assert unresolved(named, here.store.location)[:4] == (
        Link("base", None, None, "prod"),
        Link("base", 3),
        Link("base", None, DIGEST),
        Link("m", 1, store="s3://b/s"),
    )
    assert unresolved(named, "elsewhere")[-1] == source
    assert Link("base").reference == "base:latest"

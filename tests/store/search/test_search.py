"""Store.search: what it finds, in which order, in a folder, in memory and in object storage."""

import pytest

import kept
from kept.errors import ArtifactNotFound, DamageWarning, InvalidCondition, InvalidInput
from kept.store.search import database
from kept.store.search.query import query_of
from kept.store.search.search import search, select


def references(found):
    return [version.reference for version in found]


@pytest.fixture(params=["folder", "memory", "s3"])
def place(request, tmp_path):
    if request.param == "s3":
        return kept.open_store(request.getfixturevalue("s3"))
    return kept.open_store("memory:" if request.param == "memory" else tmp_path / "store")


@pytest.fixture
def runs(place, put):
    """Three artifacts; a has three versions."""
    for index, loss in enumerate((0.5, 0.1, 0.3)):
        put(place, "run_a", {"metrics": {"loss": loss}, "framework": "jax", "epoch": index})
    put(place, "run_b", {"metrics": {"loss": 0.2}, "framework": "torch"}, aliases=["prod"])
    put(place, "other", {"note": "nan"})
    return place


def test_conditions_and_orders(runs):
    assert references(runs.search("framework = jax and loss < 0.4", sort="loss")) == [
        "run_a:v1",
        "run_a:v2",
    ]
    by_loss = ["run_a:v1", "run_b:v0", "run_a:v2", "run_a:v0", "other:v0"]
    assert references(runs.search(sort="loss")) == by_loss
    assert references(runs.search(sort="-loss", limit=2)) == ["run_a:v0", "run_a:v2"]
    assert references(runs.search(sort=["framework", "-loss"], name="run_*")) == [
        "run_a:v0",
        "run_a:v2",
        "run_a:v1",
        "run_b:v0",
    ]
    assert references(runs.search(name="run_a"))[0] == "run_a:v2"
    assert references(runs.search("aliases = prod or not loss", sort="artifact")) == [
        "other:v0",
        "run_b:v0",
    ]
    assert runs.search(name="x*") == []
    assert runs.search(limit=0) == []


def test_versions_are_whole(runs):
    (found,) = runs.search("aliases = prod")
    assert found == runs["run_b:v0"]
    assert found.metadata["framework"] == "torch"
    assert found.record == runs["run_b:v0"].record
    assert [file.path for file in found.files] == ["w"]


def test_what_changes_is_found_at_once(runs, put):
    assert len(runs.search()) == 5
    runs.delete("run_a:v0")
    put(runs, "run_c", {"metrics": {"loss": 0.05}})
    runs.set_alias("run_a:v1", "prod2")
    runs.log("run_b").append({"event": "metrics", "index": 0, "metrics": {"acc": 0.9}})
    assert references(runs.search(sort="loss", limit=1)) == ["run_c:v0"]
    assert references(runs.search("aliases = prod2")) == ["run_a:v1"]
    assert references(runs.search("acc > 0.5")) == ["run_b:v0"]
    assert len(runs.search()) == 5


def test_the_index_says_what_the_logs_say(runs):
    for where, sort in [("loss", "-loss"), ("epoch in (0, 2)", "epoch"), (None, "framework")]:
        query = query_of(where, sort, None, None)
        assert search(runs.logs, query) == search(runs.logs, query, use_index=False)
        names = ("artifact", "version", "loss", "aliases", "created", "missing")
        assert select(runs.logs, query, names) == select(runs.logs, query, names, use_index=False)


def test_what_cannot_be_searched(runs):
    with pytest.raises(InvalidCondition):
        runs.search("loss >")
    with pytest.raises(ArtifactNotFound):
        runs.search(name="missing")
    for wrong in ({"limit": -1}, {"limit": True}, {"sort": ""}, {"sort": [3]}, {"name": ""}):
        with pytest.raises(InvalidInput):
            runs.search(**wrong)


def test_provenance_counts_for_all_versions_that_have_the_same(folder, put):
    log = folder.log("m")
    put(folder, "m")
    (event,) = [e for e in log.view().backwards() if e["event"] == "version"]
    facts = {key: event[key] for key in ("event", "type", "manifest", "digest", "size", "metadata")}
    facts["aliases"] = []
    log.append(facts | {"index": 1, "provenance": {"git": {"commit": "abc123"}}})
    log.append(facts | {"index": 2, "provenance": 1, "uses": [{"uri": "s3://data/x"}]})
    assert references(folder.search("git.commit = abc123")) == ["m:v2", "m:v1"]
    assert references(folder.search("uses ~ s3://*")) == ["m:v2"]
    folder.delete("m:v1")
    assert references(folder.search("git.commit = abc123")) == ["m:v2"]


def test_damage_is_named_and_the_rest_is_found(folder, put, tmp_path, old):
    for index in range(3):
        put(folder, "m", {"epoch": index})
    put(folder, "n")
    (tmp_path / "store/artifacts/m/log/00000000000000000002.json").write_bytes(b"x")
    for _ in range(2):  # the second answer comes from the index
        with pytest.warns(DamageWarning, match="m: .*2.json"):
            assert len(kept.open_store(folder.location).search()) == 3


def test_many_names(folder, put, monkeypatch):
    monkeypatch.setattr(database, "_AT_ONCE", 100)
    put(folder, "m", {f"n{number}": number for number in range(700)})
    put(folder, "m", {f"n{number}": -number for number in range(650, 750)})
    assert references(folder.search("n699 < 0 and n700 = -700")) == ["m:v1"]
    assert references(folder.search(sort="n680")) == ["m:v1", "m:v0"]
    assert references(folder.search(sort="-n680")) == ["m:v0", "m:v1"]
    found = folder.to_pandas(sort="version")
    assert found["n749"].isna().tolist() == [True, False]
    assert found["n680"].tolist() == [680, -680]
    query = query_of(None, None, None, None)
    whole = select(folder.logs, query).compact()
    assert whole == select(folder.logs, query, use_index=False).compact()

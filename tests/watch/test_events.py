"""What a watcher reports: each change of a store once, with the state at its record."""

from __future__ import annotations

import json

import pytest

import kept
from kept.cli.sync_copy import copy_artifact, copy_artifacts
from kept.store.receipts import Receipts
from kept.watch.events import body_of


def test_each_kind_of_event(store, put, noted, look):
    look(store, noted)
    put(store, aliases=["epoch_0", "first"], metadata={"metrics": {"loss": 0.5}, "lr": 0.1})
    put(store)
    store.set_alias("m:v0", "prod")
    store.set_alias("m:v1", "prod")
    store.set_alias("m:v1", "prod")  # it stays where it is
    store.version("m:v0").log_metrics({"acc": 0.9}, dataset="test", evaluation="final")
    store.remove_alias("m", "prod")
    store.delete("m:v0", force=True)
    look(store, noted)
    kinds = [(happening.kind, happening.reference) for happening, _ in noted.got]
    assert kinds == [
        ("commit", "m:v0"), ("alias", "m:v0"), ("commit", "m:v1"), ("alias", "m:v0"),
        ("alias", "m:v1"), ("metric", "m:v0"), ("alias", "m:v1"), ("deleted", "m:v0"),
    ]  # fmt: skip
    facts = [happening.facts for happening, _ in noted.got]
    assert facts[1]["alias"] == "first"
    assert (facts[3]["was"], facts[4]["was"], facts[6]["removed"]) == (None, 0, True)
    assert facts[5]["logged"] == {"acc": 0.9}
    assert (facts[5]["dataset"], facts[5]["evaluation"]) == ("test", "final")
    assert all(happening.text() for happening, _ in noted.got)
    ids = [happening.id for happening, _ in noted.got]
    assert len(set(ids)) == len(ids)
    assert "." not in "".join(ids), "Standard Webhooks separates by a full stop"


def test_the_body_has_the_state_at_the_record(store, put, noted, look):
    put(store, metadata={"metrics": {"loss": 0.5}, "lr": 0.1})
    store.version("m:v0").log_metrics({"acc": 0.9}, dataset="test")
    store.set_alias("m:v0", "prod")
    look(store, noted, from_start=True)
    [commit, metric, alias] = [json.loads(body_of(h, "here", "1")) for h, _ in noted.got]
    assert commit["data"]["aliases"] == ["latest"]
    assert commit["data"]["metrics"] == {"loss": 0.5}
    assert commit["data"]["metadata"]["lr"] == 0.1
    assert (commit["data"]["store"], commit["data"]["store_id"]) == ("here", "1")
    assert metric["data"]["metrics"] == {"loss": 0.5, "acc": 0.9, "acc@test": 0.9}
    assert alias["data"]["aliases"] == ["latest", "prod"]
    assert alias["data"]["by"]
    assert alias["timestamp"] == noted.got[2][0].time
    assert commit["id"] == noted.got[0][0].id


def test_a_large_body_can_lack_its_metadata(store, put, noted, look):
    put(store, metadata={"text": "x" * 1000})
    look(store, noted, from_start=True)
    [(happening, _)] = noted.got
    short = json.loads(body_of(happening, "here", "1", 500))
    assert short["data"]["metadata"] is None
    assert short["data"]["reference"] == "m:v0"


def test_a_body_says_what_it_lacks(store, put, noted, look):
    put(store, metadata={"text": "x" * 1000})
    store.version("m:v0").log_metrics({f"layer_{n}": n for n in range(100)})
    look(store, noted, kinds=["metric"], from_start=True)
    [(happening, _)] = noted.got
    whole = json.loads(body_of(happening, "here", "1"))
    assert "cut" not in whole["data"]
    short = json.loads(body_of(happening, "here", "1", 800))
    assert short["data"]["cut"] == ["metadata", "metrics", "logged"]
    assert short["data"]["logged"] == {}
    middle = json.loads(body_of(happening, "here", "1", 4000))
    assert middle["data"]["cut"] == ["metadata"]
    assert middle["data"]["logged"] == whole["data"]["logged"]
    assert happening.text().startswith("m:v0 has the metrics layer_0=0, ")
    assert "layer_9=9, … (100 in all)" in happening.text()


def test_no_event_without_a_metric(store, put, noted, look):
    put(store)
    store.log("m").append({"event": "metrics", "index": 0, "metrics": {}, "aliases": {"x": 0}})
    look(store, noted, from_start=True)
    assert [h.kind for h, _ in noted.got] == ["commit", "alias"]


def test_only_what_is_wanted(store, put, noted, look):
    for name in ("run_1", "run_2", "other"):
        put(store, name)
        store.set_alias(f"{name}:v0", "prod")
        store.set_alias(f"{name}:v0", "staging")
    look(store, noted, kinds=["alias"], names="run_*", aliases="pro*", from_start=True)
    assert [h.artifact for h, _ in noted.got] == ["run_1", "run_2"]
    assert {h.facts["alias"] for h, _ in noted.got} == {"prod"}


def test_whole_artifacts_that_are_deleted(store, put, noted, look):
    for _ in range(3):
        put(store)
    store.delete("m:v1")
    look(store, noted)
    log = store.log("m")
    log.append({"event": "remove", "indexes": [0, 2]})
    look(store, noted)
    assert [h.reference for h, _ in noted.got] == ["m:v0", "m:v2"]
    log.append({"event": "restore", "indexes": [0, 2]})
    log.append({"event": "remove", "indexes": [0, 2], "moved_to": "n"})
    look(store, noted)
    assert len(noted.got) == 2, "a renamed artifact has lost nothing"


def test_mirrors(store, put, noted, look, tmp_path):
    mirror = kept.open_store(tmp_path / "mirror")
    put(store)
    Receipts(store.bucket, mirror.location).register("m")
    copy_artifacts(store, mirror.location, None)
    look(store, noted, kinds=["mirrored"])
    for _ in range(2):
        put(store)
    look(store, noted, kinds=["mirrored"])
    assert noted.got == []
    copy_artifacts(store, mirror.location, None)
    for _ in range(2):
        look(store, noted, kinds=["mirrored"])
    assert noted.texts == [f"m:v{n} is in the mirror {mirror.location}" for n in (1, 2)]


def test_who_committed_a_version(store, put, noted, look):
    log = store.log("m")
    put(store)
    provenance = {"user": "ann", "host": "gpu-3"}
    [first] = log.view().backwards()
    for index, stated in ((1, provenance), (2, 1), (3, {"python": "3.11"}), (4, 3)):
        keys = ("event", "type", "manifest", "size", "aliases", "metadata")
        event = {key: first[key] for key in keys} | {"index": index, "digest": f"{index:064}"}
        log.append(event | {"provenance": stated})
    look(store, noted, from_start=True)
    assert [h.facts["by"] for h, _ in noted.got] == [None, "ann@gpu-3", "ann@gpu-3", None, None]
    assert noted.texts[1] == "m:v1 committed as latest by ann@gpu-3"


def test_a_copy_of_a_store_has_the_same_ids(store, put, noted, look, tmp_path):
    put(store, aliases=["prod"])
    store.version("m:v0").log_metrics({"acc": 0.9})
    look(store, noted, from_start=True)
    mirror = kept.open_store(tmp_path / "mirror")
    copy_artifacts(store, mirror.location, None)
    look(mirror, noted, from_start=True, path=tmp_path / "other.json")
    ids = [happening.id for happening, _ in noted.got]
    assert len(ids) == 6
    assert ids[:3] == ids[3:]
    copy_artifact(store, mirror, "m", "n")
    look(mirror, noted, names="n", from_start=True, path=tmp_path / "n.json")
    assert not {happening.id for happening, _ in noted.got[6:]} & set(ids)


@pytest.mark.parametrize("text", ["m:v0 is now m:prod (was v1)", "m:v0 deleted (expired)"])
def test_texts(store, put, noted, look, text):
    put(store)
    put(store)
    store.set_alias("m:v1", "prod")
    look(store, noted)
    log = store.log("m")
    log.append({"event": "alias", "aliases": {"prod": 0}})
    log.append({"event": "delete", "index": 0, "reason": "expired"})
    look(store, noted)
    assert text in noted.texts

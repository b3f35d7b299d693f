"""The values of a version under their names, and which of two with one name counts."""

import kept
from kept.store.condition.fields import values_of
from kept.store.condition.parse import parse
from kept.store.rank.values import measured


def record(store, metadata, *events, **options):
    store.log_artifact(
        "m", kept.MemoryFile("w", [b"1"]), metadata=metadata, capture=False, **options
    )
    for event in events:
        store.log("m").append({"index": 0} | event)
    return store.version("m").record


def test_values(store):
    metadata = {
        "epoch": 3, "monitor": "val_loss", "value": 0.5, "mode": "min",
        "metrics": {"loss": 0.7, "val_loss": 0.5, "auc": "nan", "norm": "inf"},
        "optimizer": {"name": "adam", "lr": 1e-3}, "layers": [16, None, 32, {"a": 1}],
        "nothing": None, "final": True, "size": "small",
    }  # fmt: skip
    found = record(store, metadata, aliases=["prod"])
    values = values_of("m", found)
    assert values == {
        "artifact": "m", "version": 0, "type": "model", "size": found.size,
        "created": found.created_at, "digest": found.digest, "aliases": ("latest", "prod"),
        "tags": (), "uses": (), "epoch": 3, "monitor": "val_loss", "value": 0.5, "mode": "min",
        "loss": 0.7, "val_loss": 0.5, "auc": "nan", "norm": float("inf"),
        "optimizer.name": "adam", "optimizer.lr": 1e-3, "layers": (16, 32), "final": True,
        "metadata.size": "small",
    }  # fmt: skip
    assert parse("metadata.size = small and metadata.epoch = 3").holds(values)


def test_what_is_logged_later_counts(store):
    found = record(
        store,
        {"monitor": "acc", "value": 0.1, "metrics": {"loss": 1.0}, "note": 1},
        {"event": "metrics", "metrics": {"acc": 0.2, "loss": 0.9}, "dataset": "d1"},
        {"event": "metrics", "metrics": {"acc": 0.3}},
        {"event": "update", "tags": {"good": True}, "description": "x", "set": {"note": 2}},
    )
    values = values_of("m", found)
    expected = {"acc": 0.3, "loss": 0.9, "acc@d1": 0.2, "loss@d1": 0.9}
    assert {name: values[name] for name in expected} == expected
    assert all(values[name] == measured(found, name) for name in ("acc", "loss", "acc@d1"))
    assert (values["tags"], values["description"], values["note"]) == (("good",), "x", 2)


def test_the_monitored_value_is_one_of_the_metric(store):
    assert values_of("m", record(store, {"monitor": "acc", "value": 0.1}))["acc"] == 0.1


def test_provenance_is_below_metadata(store):
    found = record(store, {"framework": "mine"})
    found = found._replace(
        origin={
            "provenance": {
                "framework": "jax",
                "git": {"branch": "main"},
                "packages": {"digest": "d", "versions": {"keras": "3"}},
            },
            "parent": {"artifact": "m", "index": 2, "digest": "0" * 64},
            "uses": [
                {"artifact": "data", "index": 3, "store": "s3://b/store"},
                {"artifact": "base", "alias": "prod"},
                {"uri": "https://x/y"},
                {"other": 1},
            ],
        }
    )
    values = values_of("m", found)
    assert values["framework"] == "mine"
    assert values["git.branch"] == "main"
    assert (values["packages.keras"], values["packages.digest"]) == ("3", "d")
    assert values["parent"] == "m:v2"
    assert values["uses"] == ("s3://b/store/data:v3", "base:prod", "https://x/y")
    later = found._replace(origin={"provenance": 0})
    assert "git.branch" not in values_of("m", later)
    assert values_of("m", later, {"git": {"branch": "b"}})["git.branch"] == "b"

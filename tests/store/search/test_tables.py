"""Store.to_pandas and Store.to_arrow: one type for each column."""

import sys
from datetime import UTC, datetime

import pytest

from kept.errors import InvalidInput


@pytest.fixture
def store(folder, put):
    put(folder, "a", {"epoch": 1, "loss": 0.5, "final": True, "mixed": 1, "seeds": [1, 2]})
    put(folder, "a", {"epoch": 2, "loss": 2, "note": "x", "mixed": "y", "big": 2**70})
    put(folder, "b", {"loss": float("nan"), "final": False, "gone": None}, aliases=["prod"], ttl=60)
    return folder


def test_pandas(store):
    found = store.to_pandas(sort="epoch")
    assert list(found.columns[:3]) == ["artifact", "version", "type"]
    assert found["version"].tolist() == [0, 1, 0]
    assert {name: str(found[name].dtype) for name in found.columns} == {
        "artifact": "str", "version": "int64", "type": "str", "size": "int64",
        "created": "datetime64[us, UTC]", "digest": "str", "aliases": "object", "tags": "object",
        "expires": "datetime64[us, UTC]", "uses": "object", "epoch": "Int64", "loss": "float64",
        "final": "boolean", "mixed": "str", "note": "str", "seeds": "object", "big": "str",
    }  # fmt: skip
    assert found["loss"].tolist()[:2] == [0.5, 2.0]
    assert found["loss"].isna().tolist() == [False, False, True]
    assert found["final"].isna().tolist() == [False, True, False]
    assert found["mixed"].tolist()[:2] == ["1", "y"]
    assert found["aliases"].tolist() == [[], ["latest"], ["latest", "prod"]]
    assert found["created"][0] == store["a:v0"].created_at
    assert len(store.to_pandas("loss < 1", name="a", limit=5)) == 1


def test_arrow(store):
    found = store.to_arrow(sort="epoch")
    types = {field.name: str(field.type) for field in found.schema}
    assert types["version"] == "int64"
    assert types["created"] == "timestamp[us, tz=UTC]"
    assert types["aliases"] == types["seeds"] == "list<item: string>"
    assert (types["epoch"], types["loss"], types["final"]) == ("int64", "double", "bool")
    assert found["epoch"].to_pylist() == [1, 2, None]
    assert found["aliases"].to_pylist() == [[], ["latest"], ["latest", "prod"]]
    assert found["seeds"].to_pylist() == [["1", "2"], None, None]
    assert isinstance(found["created"][0].as_py(), datetime)
    assert found["created"][0].as_py() <= datetime.now(UTC)


def test_nothing_found(store):
    assert len(store.to_pandas("loss > 100")) == 0
    assert store.to_arrow("loss > 100").num_rows == 0


@pytest.mark.parametrize(("package", "call"), [("pandas", "to_pandas"), ("pyarrow", "to_arrow")])
def test_without_the_package(store, monkeypatch, package, call):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InvalidInput, match=r"kept\[pandas\]"):
        getattr(store, call)()
    assert len(store.search()) == 3

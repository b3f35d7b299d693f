"""What a version adds to a store: what has changed, and little else."""

import pytest

import kept
from tests.helpers import arrays, hdf5, keras, tree, write

BASE = {f"block_{n}": 600_000 for n in range(12)} | {f"norm_{n}": 512 for n in range(60)}
HEAD = {"head": 120_000, "head_bias": 40, "adam_m": 120_000, "adam_v": 120_000}
MANY_SMALL = {f"adapter_{n}": 4_096 + 40 * n for n in range(40)}


def stored(location):
    return sum(len(data) for data in tree(location).values())


@pytest.mark.parametrize(
    "changing", [HEAD, MANY_SMALL, {"head": 400}], ids=["head", "adapters", "tiny"]
)
@pytest.mark.parametrize(
    ("form", "name"),
    [(keras, "m.keras"), (lambda t, _: hdf5(t), "m.weights.h5"), (lambda t, _: hdf5(t), "m.h5")],
)
def test_with_a_frozen_base_a_version_adds_what_changed(tmp_path, form, name, changing):
    base, location = arrays(0, **BASE), tmp_path / "store"
    store = kept.open_store(location)
    changed = sum(changing.values())
    for n in range(5):
        before = stored(location) if n else 0
        data = form(base | arrays(n + 1, **changing), n)
        version = store.log_artifact("m", write(tmp_path / name, data), metadata={"epoch": n})
        assert version.index == n
        if n:
            assert stored(location) - before <= 1.1 * changed + 64 * 1024
    assert store.verify().ok
    assert tree(version.download(tmp_path / "out")) == {name: data}


def test_a_layer_more_leaves_the_others_where_they_are(tmp_path):
    base, location = arrays(0, **{f"block_{n}": 600_000 for n in range(12)}), tmp_path / "store"
    store = kept.open_store(location)
    store.log_artifact("m", write(tmp_path / "m.keras", keras(base)))
    before = stored(location)
    more = {"a_new_first_layer": arrays(9, x=200_000)["x"]} | base
    store.log_artifact("m", write(tmp_path / "m.keras", keras(more)))
    assert stored(location) - before <= 1.1 * 200_000 + 64 * 1024


def test_nothing_new_adds_a_record_at_most(tmp_path):
    location, data = tmp_path / "store", keras(arrays(0, **BASE))
    store = kept.open_store(location)
    store.log_artifact("m", write(tmp_path / "m.keras", data))
    before = tree(location)
    store.log_artifact("m", tmp_path / "m.keras")
    assert tree(location) == before
    store.log_artifact("m", tmp_path / "m.keras", aliases=["best"])
    [new] = tree(location).keys() - before.keys()
    assert "/log/" in new

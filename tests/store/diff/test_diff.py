"""The diff of versions and files: what it finds, and that it reads no more than what differs."""

import io
import json
import math
import os
import zipfile

import h5py
import numpy as np
import pytest

import kept
from kept.errors import Damaged, InvalidInput, InvalidPath, InvalidReference, NotFound, NotSigned
from kept.store.blobs.blob import HEADER, blob_key
from kept.store.diff.compare import compare, task_of
from kept.store.diff.diff import diff
from kept.store.diff.result import Figures
from kept.store.diff.sides import side_at, side_of
from kept.store.diff.wording import relative_text
from kept.store.tensors.tensors import tensors_at
from tests.helpers import Wrapped, arrays, hdf5, keras, write


@pytest.fixture
def put(store, tmp_path):
    """Store arrays as the file of a new version."""

    def make(given, name="model.weights.h5", **options):
        data = given if isinstance(given, bytes) else hdf5(given)
        return store.log_artifact("m", write(tmp_path / "put" / name, data), **options)

    return make


def layers(result):
    return {change.layer: change for change in result.tensors}


class Counting(Wrapped):
    """A bucket that counts the bytes of blobs that are read."""

    read = requests = 0

    def get(self, key, start=0, length=None):
        data = self.inner.get(key, start, length)
        self.requests += 1
        self.read += len(data) if key.startswith("blobs/") else 0
        return data


class Server(Counting):
    """As object storage, where each request takes its time."""

    is_remote = True


def counted(version, kind=Counting):
    found = type(version)(type(version.store)(kind(version.store.bucket)), "m", version.record)
    return found, found.store.bucket


def test_figures_are_those_of_numpy(put):
    one = arrays(0, a=40_000, b=40_000, c=40_000, d=40_000)
    other = {**one, "b": one["b"] * np.float32(1.01), "c": -one["c"]}
    other["d"] = one["d"].copy()
    other["d"][:100] += np.float32(5)
    found = layers(put(one).diff(put(other)))
    assert list(found) == ["c", "d", "b"], "largest first"
    for name, change in found.items():
        a, b = one[name].astype("f8"), other[name].astype("f8")
        assert change.relative == pytest.approx(np.linalg.norm(b - a) / np.linalg.norm(a))
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert change.figures.cosine == pytest.approx(cosine)
        assert change.share == pytest.approx(np.mean(a != b))
        assert (change.kind, change.is_bound) == ("changed", False)
    assert found["d"].figures.changed == 100


def test_layers_sum_up_their_tensors(put):
    def data(scale):
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            file["layers/dense/vars/0"] = np.full(100, scale, "f4")
            file["layers/dense/vars/1"] = np.full(100, 2 * scale, "f4")
            file["layers/embedding/vars/0"] = np.full(3000, 1 + scale, "f4")
        return buffer.getvalue()

    first, second = put(data(1)).diff(put(data(3))).layers
    assert (first.layer, first.tensors, first.size) == ("dense", 2, 200)
    assert first.relative == pytest.approx(2)
    assert (second.layer, second.relative) == ("embedding", 1)


def test_a_layer_without_a_finite_value_has_no_size_of_change(put):
    one, lost = np.full(3000, 1, "f4"), np.full(3000, np.nan, "f4")
    found = put({"a": one, "b": one}).diff(put({"a": lost, "b": 2 * one})).layers
    assert [(layer.layer.rpartition("/")[2], layer.relative) for layer in found] == [
        ("b", 1), ("a", None),
    ]  # fmt: skip


def test_tensors_of_one_name_name_their_files(store, tmp_path):
    for scale in (1, 2):
        for name in ("generator", "critic"):
            write(tmp_path / "models" / f"{name}.weights.h5", hdf5({"a": np.full(3000, scale)}))
        store.log_artifact("m", tmp_path / "models")
    shown = str(store["m:v0"].diff(store["m:v1"]))
    assert "in models/generator.weights.h5" in shown
    assert "in models/critic.weights.h5" in shown


def test_a_notebook_displays_tables(put, tmp_path):
    name = "<script>alert(1)</script>"
    one, other = ({name: np.full(2000, n, "f4")} for n in (1, 2))
    result = put(one).diff(put(other))
    shown = result._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "100 %" in shown
    assert repr(result) == "<kept.Diff m:v0 → m:v1>"


def test_equal_versions_have_no_difference(put):
    one = put(arrays(0, a=50_000, b=500))
    result = one.diff(one)
    assert not result.differs
    assert (result.tensors, result.files, result.unchanged) == ((), (), 2)
    assert "No difference" in str(result)


@pytest.mark.parametrize("size", [300_000, 3_000_000, 30_000_000])
def test_versions_that_share_90_percent_are_hardly_read(put, size):
    count = 60_000_000 // size
    one = arrays(0, **{f"n{n}": size for n in range(count)})
    if count >= 10:
        changed = {f"n{n}": one[f"n{n}"] + np.float32(0.5) for n in range(0, count, 10)}
    else:  # a part of a large tensor: 3 MB of 30 MB, in one chunk of 16 MiB
        changed = {"n0": one["n0"].copy()}
        changed["n0"][:750_000] = 0
    before, ours = counted(put(one))
    after, theirs = counted(put(one | changed))
    result = before.diff(after)
    assert {c.layer for c in result.tensors} == set(changed)
    share = (ours.read + theirs.read) / (before.size + after.size)
    assert share <= (0.15 if count >= 10 else 0.3)
    assert result.bytes_read / result.bytes_total == pytest.approx(share, abs=0.02)


def test_tensors_that_share_blobs_are_hardly_read_from_a_server(put):
    layers = {f"{kind}{n}": 1000 if kind == "b" else 250_000 for n in range(20) for kind in "kqb"}
    one = arrays(0, **layers)
    other = {name: data * 2 if name in ("k1", "q1", "b1") else data for name, data in one.items()}
    (before, first), (after, second) = (counted(put(each), Server) for each in (one, other))
    result = before.diff(after)
    assert len(result.tensors) == 3
    assert first.read + second.read <= 0.15 * result.bytes_total
    assert first.requests + second.requests < 3 * 2 * len(layers)


def test_very_many_small_tensors_take_few_requests_to_a_server(put):
    one, other = (arrays(seed, **{f"n{n}": 500 for n in range(1500)}) for seed in (0, 1))
    (before, first), (after, second) = (counted(put(each), Server) for each in (one, other))
    result = before.diff(after)
    assert len(result.tensors) == 1500
    assert first.read + second.read <= 1.3 * result.bytes_total
    assert first.requests + second.requests < 150


def test_a_tensor_that_is_equal_in_part_has_a_bound_or_is_read(put):
    one = {"a": np.random.default_rng(0).normal(size=6_000_000).astype("f4")}
    other = {"a": one["a"].copy()}
    other["a"][5_000_000:] *= np.float32(1.5)
    before, after = put(one), put(other)
    exact = np.linalg.norm((other["a"] - one["a"]).astype("f8")) / np.linalg.norm(
        one["a"].astype("f8")
    )
    [bound] = before.diff(after).tensors
    assert bound.is_bound
    assert bound.relative > exact
    assert bound.figures.compared < 6_000_000
    assert bound.figures.changed == 1_000_000
    assert "≤" in str(before.diff(after))
    one["a"][:3], other["a"][:3], one["a"][-1] = np.nan, np.nan, np.nan
    shown = str(put(one).diff(put(other)))
    assert "no NaN (1 before) in the part that was read" in shown, "an equal part has NaN"
    [whole] = before.diff(after, exact=True).tensors
    assert not whole.is_bound
    assert whole.relative == pytest.approx(exact)
    assert whole.figures.changed == 1_000_000


@pytest.mark.parametrize("scale", [-1, 0.1, 0.999, 1, 1.001, 2, 30, 1e90])
@pytest.mark.parametrize("noise", [0, 0.01, 3])
def test_no_equal_part_makes_the_cosine_less_than_its_bound(scale, noise):
    random = np.random.default_rng(0)
    one = random.normal(size=100)
    other = scale * one + noise * random.normal(size=100)

    def figures(equal):
        a, b = np.append(one, equal), np.append(other, equal)
        norms = (float(np.linalg.norm(each)) for each in (b - a, a, b))
        return Figures(100, 100, 100, *norms, float(a @ b), (0, 0), (0, 0))

    least = figures(0).least_cosine
    assert all(figures(equal).cosine >= least - 1e-12 for equal in np.geomspace(1e-3, 1e5, 200))
    if scale == 1:
        assert least == pytest.approx(figures(0).cosine, abs=0.02), "not lower than needed"


def test_a_bound_of_a_part_from_zero_does_not_say_that_all_was_zero():
    assert relative_text(math.inf) == "from zero"
    assert relative_text(math.inf, is_bound=True) == "partly from zero"


def test_nan_and_infinities(put):
    one = arrays(0, a=8_000, b=8_000, c=8_000)
    other = {name: value.copy() for name, value in one.items()}
    other["a"][:7] = np.nan
    other["b"][:3] = -np.inf
    other["c"][:] = 2 * one["c"]
    one["b"][0] = -np.inf
    result = put(one).diff(put(other))
    found = layers(result)
    assert list(found)[2] == "c", "what became wrong comes first"
    assert found["a"].figures.nans == (0, 7)
    assert found["b"].figures.infinities == (1, 3)
    assert (found["a"].relative, found["a"].figures.changed) == (0, 7)
    assert found["b"].figures.changed == 2, "an infinity is equal to itself"
    assert "7 NaN" in str(result)
    assert "3 infinite (1 before)" in str(result)
    json.dumps(result.to_json(), allow_nan=False)


def test_progress_counts_what_is_compared(put):
    one, other = put(arrays(0, a=40_000, b=8_000)), put(arrays(1, a=40_000, b=8_000))
    calls = []
    diff(side_of(one), side_of(other), progress=lambda *each: calls.append(each))
    assert calls[-1] == (96_000, 96_000)


def test_all_nan_and_zeros(put):
    zeros, ones = np.zeros(3000, "f4"), np.ones(3000, "f4")
    nan = np.full(3000, np.nan, "f4")
    result = put({"a": ones, "b": zeros, "c": ones, "d": nan}).diff(
        put({"a": nan, "b": ones, "c": zeros, "d": nan})
    )
    found = layers(result)
    assert found["a"].relative is None
    assert found["b"].relative == np.inf
    assert (found["c"].relative, found["c"].figures.cosine) == (1, None)
    assert "d" not in found, "NaN equals NaN"
    text = json.dumps(result.to_json(), allow_nan=False)
    assert '"relative": "inf"' in text
    assert "from zero" in str(result)


def written(tmp_path, name, **values):
    with h5py.File(tmp_path / f"{name}.h5", "w") as file:
        for key, value in values.items():
            opaque = value.dtype.kind == "V" or value.dtype.name == "bfloat16"
            file[key] = value.view("V2") if opaque else value
    return tmp_path / f"{name}.h5"


KINDS = ["f2", "f8", "i1", "u2", "i8", "?", "c8", ">f4", "bfloat16"]


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(tmp_path, kind):
    kind = pytest.importorskip("ml_dtypes").bfloat16 if kind == "bfloat16" else kind
    a = np.arange(1, 101).astype(kind)
    b = a.copy()
    b[:10] = b[:10] == 0  # 0, or False
    result = diff(side_at(written(tmp_path, "a", x=a)), side_at(written(tmp_path, "b", x=b)))
    [change] = result.tensors
    wide = a.astype("c16"), b.astype("c16")
    assert change.relative == pytest.approx(
        np.linalg.norm(wide[1] - wide[0]) / np.linalg.norm(wide[0])
    )
    assert change.figures.changed == 10


def test_extreme_doubles_do_not_overflow(tmp_path):
    a, b = np.full(100, 1e200), np.full(100, 1.5e200)
    tiny = np.full(100, 1e-200)
    one = side_at(written(tmp_path, "a", x=a, y=tiny))
    result = diff(one, side_at(written(tmp_path, "b", x=b, y=3 * tiny)))
    assert {c.name: c.relative for c in result.tensors} == pytest.approx({"x": 0.5, "y": 2})
    assert {c.cosine for c in result.tensors} == {None}, "their product is beyond a double"


def test_norms_beyond_a_double_are_not_known(tmp_path):
    one = side_at(written(tmp_path, "a", x=np.full(999, 1.7e308), y=np.ones(9)))
    result = diff(one, side_at(written(tmp_path, "b", x=np.full(999, -1.7e308), y=2 * np.ones(9))))
    assert [(c.name, c.relative, c.cosine) for c in result.tensors] == [
        ("y", 1, pytest.approx(1)), ("x", None, None),
    ]  # fmt: skip
    json.dumps(result.to_json(), allow_nan=False)


def test_another_type_is_compared_by_value(put):
    value = np.linspace(-1, 1, 5000).astype("f4")
    result = put({"a": value, "b": value}).diff(put({"a": value.astype("f2"), "b": value}))
    [change] = result.tensors
    assert change.relative < 1e-3
    assert "float32 → float16" in str(result)


def test_the_storage_does_not_matter(put, tmp_path):
    value = np.random.default_rng(0).normal(size=(300, 40)).astype("f4")
    changed = value.copy()
    changed[7] = 0
    packed = hdf5({"a": changed}, compression="gzip", chunks=(64, 40))
    [change] = put({"a": value}).diff(put(packed)).tensors
    assert change.figures.changed == 40
    assert put(hdf5({"a": changed}, shuffle=True, chunks=(9, 7))).diff(put(packed)).tensors == ()
    np.savez(tmp_path / "c.npz", a=value)
    np.savez_compressed(tmp_path / "f.npz", a=np.asfortranarray(changed))
    [change] = diff(side_at(tmp_path / "c.npz"), side_at(tmp_path / "f.npz")).tensors
    assert change.figures.changed == 40


def test_added_removed_and_reshaped(put):
    one = {"same": np.ones(2000, "f4"), "gone": np.ones(9, "f4"), "grown": np.ones((3, 4), "f4")}
    other = {"same": one["same"], "new": np.ones(9, "f8"), "grown": np.ones((3, 5), "f4")}
    result = put(one).diff(put(other))
    assert {c.layer: c.kind for c in result.tensors} == {
        "gone": "removed", "new": "added", "grown": "reshaped",
    }  # fmt: skip
    assert "3×4 → 3×5" in str(result)


def test_files_with_epochs_in_their_names_are_one_model(put, store, tmp_path):
    given = arrays(0, a=9000)
    one = put(given, "run-1/epoch_03-0.51.weights.h5")
    other = put(given | arrays(1, b=9000), "run-1/epoch_04-0.42.weights.h5")
    result = one.diff(other)
    assert [(c.layer, c.kind) for c in result.tensors] == [("b", "added")]
    [changed] = result.files
    assert (changed.kind, changed.path_before) == ("changed", "epoch_03-0.51.weights.h5")


def test_a_model_in_other_parts_is_the_same(tmp_path):
    from tests.store.tensors.test_tensors import safetensors

    given = {f"t{n}": np.full(9, n, "f4") for n in range(4)}
    for folder, groups in {"a": ["t0 t1", "t2 t3"], "b": ["t0", "t1 t2", "t3"]}.items():
        for number, names in enumerate(groups, 1):
            data = safetensors(**{name: given[name] for name in names.split()})
            name = f"model-{number:05}-of-{len(groups):05}.safetensors"
            write(tmp_path / folder / name, data)
    result = diff(side_at(tmp_path / "a"), side_at(tmp_path / "b"))
    assert (result.tensors, result.unchanged) == ((), 4)


def test_other_files(store, tmp_path):
    root = tmp_path / "r"
    for name, data in {"same": b"1", "moved_1": b"2" * 9, "edited": b"3", "gone": b"4"}.items():
        write(root / f"{name}.txt", data)
    one = store.log_artifact("m", root)
    (root / "gone.txt").unlink()
    (root / "moved_1.txt").rename(root / "moved_2.txt")
    write(root / "edited.txt", b"333")
    write(root / "new.txt", b"5")
    result = one.diff(store.log_artifact("m", root))
    assert {c.path: (c.kind, c.bytes_new) for c in result.files} == {
        "r/moved_2.txt": ("renamed", 0),
        "r/edited.txt": ("changed", 3),
        "r/gone.txt": ("removed", 0),
        "r/new.txt": ("added", 1),
    }
    assert result.tensors == ()
    assert result.differs
    assert "renamed, was r/moved_1.txt" in str(result)


def test_metadata_metrics_and_aliases(put, store):
    given = arrays(0, a=100)
    base = {"lr": {"rate": 0.1, "kind": "cosine"}, "stall_seconds": 1.0, "old": 1}
    put(given, metadata=base | {"metrics": {"loss": 2.0}, "epoch": 1}, aliases=["x"])
    changed = {"lr": {"rate": 0.2, "kind": "cosine"}, "stall_seconds": 2.0, "new": [1]}
    other = put(
        given | arrays(0, b=9), metadata=changed | {"metrics": {"loss": float("nan")}, "epoch": 2}
    )
    other = other.log_metrics({"accuracy": 0.5}, dataset="test").update(tags=["good"])
    result = store["m:v0"].diff(other)
    assert [(c.key, c.kind) for c in result.metadata] == [
        ("lr.rate", "changed"), ("old", "removed"), ("epoch", "changed"), ("new", "added"),
        ("tags", "added"),
    ]  # fmt: skip
    assert {c.key for c in result.metrics} == {"loss", "accuracy", "accuracy@test"}
    assert result.metadata[0].difference == pytest.approx(0.1)
    assert result.aliases == (("x",), ("latest",))
    json.dumps(result.to_json(), allow_nan=False)


@pytest.mark.parametrize("value", [10**400, -(10**400), [math.nan], {"a": [{"b": math.inf}]}])
def test_numbers_that_no_double_and_no_json_holds(put, value):
    before = put(keras_file({"config": {"a": 1}}, arrays(0, a=100)), "m.keras", metadata={"k": 1})
    config = {"config": {"a": value, "b": value}}
    huge = value if isinstance(value, int) else 2
    after = put(keras_file(config, arrays(0, a=100)), "m.keras", metadata={"k": huge})
    for result in (before.diff(after), after.diff(before)):
        json.dumps(result.to_json(), allow_nan=False)
        assert "config.b" in str(result)


def keras_file(config, tensors):
    buffer = io.BytesIO(keras(tensors))
    with zipfile.ZipFile(buffer) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in (parts | {"config.json": json.dumps(config).encode()}).items():
            archive.writestr(name, data)
    return out.getvalue()


def test_the_configuration(put):
    def config(units, *more):
        layers = [{"class_name": "Dense", "config": {"name": "d", "units": units}}, *more]
        return {"config": {"name": "m", "layers": layers, "sizes": [1, 2]}}

    extra = {"class_name": "Dropout", "config": {"name": "drop"}}
    one = put(keras_file(config(4), arrays(0, a=100)), "m.keras")
    other = put(keras_file(config(8, extra), arrays(0, a=100)), "m.keras")
    result = one.diff(other)
    assert [(c.key, c.kind) for c in result.config] == [
        ("config.layers.d.config.units", "changed"), ("config.layers.drop", "added"),
    ]  # fmt: skip
    assert "Dropout" in str(result)


def test_a_file_on_the_disk(put, tmp_path):
    given = arrays(0, a=2_000_000, b=2_000_000)
    version, bucket = counted(put(given))
    same = write(tmp_path / "same.h5", hdf5(given))
    assert not version.diff(same).tensors
    assert bucket.read < 20_000, "chunks of the same digest are not read"
    changed = write(tmp_path / "changed.h5", hdf5(given | {"b": given["b"] * 2}))
    [change] = version.diff(os.fspath(changed)).tensors
    assert (change.layer, change.relative) == ("b", 1)
    [back] = diff(side_at(changed), side_of(version)).tensors
    assert back.relative == 0.5
    folder = tmp_path / "elsewhere"
    version.download(folder)
    assert not version.diff(folder).differs


def test_references_and_other_stores(put, store, tmp_path):
    one, _ = put(arrays(0, a=9000)), put(arrays(1, a=9000))
    there = kept.open_store(tmp_path / "there")
    copy = there.log_artifact("n", tmp_path / "put")
    assert one.diff("m:v1").after == "m:v1"
    assert one.diff("m").after == "m:v1"
    result = one.diff(f"{there.location}/n:latest")
    assert result.after == f"{there.location}/n:v0"
    assert len(result.tensors) == 1
    assert one.diff(copy).after == result.after


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("m:v9", NotFound, "no 'v9'"),
        ("nope", NotFound, "'nope'"),
        ("nope.keras", NotFound, "no file of that name either"),
        ("./nope.keras", InvalidPath, "no such file"),
        ("s3://bucket/m", InvalidReference, "m:latest"),
        ("/no/such/store/m:v1", NotFound, "no store"),
        ("a/b c:v1", InvalidReference, "b c"),
        (7, InvalidInput, "Received: 7"),
        (None, InvalidInput, "Received: None"),
    ],
)
def test_what_names_nothing_is_refused(put, text, error, message):
    with pytest.raises(error, match=message):
        put(arrays(0, a=9)).diff(text)


def test_a_file_that_is_no_checkpoint_is_refused(put, tmp_path):
    path = write(tmp_path / "notes.txt", b"hello")
    with pytest.raises(InvalidInput, match=r"no checkpoint.*notes\.txt"):
        put(arrays(0, a=9)).diff(path)


def test_damaged_blobs_are_named(put, store):
    one, other = put(arrays(0, a=9_000_000)), put(arrays(1, a=9_000_000))
    largest = max((c for f in other.files for c in f.chunks), key=lambda c: c.size)
    data = bytearray(store.bucket.get(blob_key(largest.blob)))
    data[HEADER.size + 9] ^= 1
    store.bucket.put(blob_key(largest.blob), [bytes(data)])
    with pytest.raises(Damaged, match=largest.blob):
        one.diff(other)


def test_signatures_are_required(put, tmp_path, store):
    pytest.importorskip("model_signing")
    from tests.store.test_signing import Keys

    keys, one, other = Keys(tmp_path), put(arrays(0, a=9)), put(arrays(1, a=900))
    one.sign(keys.private("alice"))
    strict = kept.Store(store.bucket, require_signed=keys.public("alice"))
    with pytest.raises(NotSigned):
        strict["m:v0"].diff("m:v1")
    other.sign(keys.private("alice"))
    assert strict["m:v0"].diff("m:v1").differs


def test_coded_versions(tmp_path):
    store, random = kept.open_store(tmp_path / "store"), np.random.default_rng(0)
    base = random.normal(0, 0.02, 500_000).astype("f4")
    given = [base + np.float32(n * 1e-5) for n in range(3)]
    for value in given:
        store.log_artifact("m", write(tmp_path / "m.h5", hdf5({"a": value})))
    before = store["m:v0"].diff("m:v2").to_json()
    store.compact()
    assert store["m:v0"].diff("m:v2").to_json() == before


def test_versions_in_object_storage(s3, tmp_path):
    store = kept.open_store(s3)
    one = arrays(0, **{f"n{n}": 1_500_000 for n in range(30)})
    other = {name: value * np.float32(2) for name, value in one.items()} | {"n3": one["n3"]}
    first = store.log_artifact("m", write(tmp_path / "m.h5", hdf5(one)))
    second = store.log_artifact("m", write(tmp_path / "m.h5", hdf5(other)))
    result = first.diff(second)
    assert len(result.tensors) == 29
    assert all(c.relative == pytest.approx(1) for c in result.tensors)
    assert 0.9 < result.bytes_read / result.bytes_total < 1
    local = kept.open_store(tmp_path / "local")
    local.log_artifact("x", tmp_path / "m.h5")
    assert not second.diff(f"{local.location}/x:v0").tensors
    assert len(local["x:v0"].diff(f"{s3}/m:v0").tensors) == 29


def test_memory_is_bounded(tmp_path):
    import tracemalloc

    for name in ("a", "b"):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            for n in range(4):
                file[f"t{n}"] = np.full(12_000_000, ord(name) + n, "f4")  # 48 MB
    store = kept.open_store(tmp_path / "store")
    one = store.log_artifact("m", tmp_path / "a.h5")
    other = store.log_artifact("m", tmp_path / "b.h5")
    tracemalloc.start()
    result = one.diff(other)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(result.tensors) == 4
    assert peak < 160e6


def test_parts_that_begin_inside_an_element_are_read(tmp_path):
    from kept.store.tensors.tensor import Piece

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"] = np.arange(10, dtype="f4")
    with tensors_at(tmp_path / "x.h5") as found:
        [tensor] = found
        same = Piece("s", 0, 22, "")  # five elements and a half
        pieces = (same, Piece("x", 0, 18, ""))
        task = task_of(tensor, tensor, pieces, (same, Piece("y", 0, 18, "")))
        assert [tuple(part) for part in task.parts] == [(0, 5, True), (5, 10, False)]
        assert compare(found, found, task, exact=False).compared == 5
        assert compare(found, found, task, exact=True).compared == 10

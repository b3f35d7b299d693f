"""The tensors of versions and files: names, kinds, values, and how little a listing reads."""

import io
import json
import struct
import zipfile

import h5py
import numpy as np
import pytest

import kept
from kept.errors import Damaged, InvalidInput, InvalidPath
from kept.store.blobs.blob import HEADER, blob_key
from kept.store.tensors.layers import layer_tree, shared_with
from kept.store.tensors.tensors import tensors_at, tensors_of
from tests.helpers import Wrapped, arrays, hdf5, write

ml_dtypes = pytest.importorskip("ml_dtypes")


def of(version):
    return tensors_of(version.store.bucket, version.manifest)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The files of one Keras model, and its variables by their paths."""
    keras = pytest.importorskip("keras")
    folder = tmp_path_factory.mktemp("keras")
    given = keras.Input((8,))
    x = keras.layers.Dense(8, name="shared")
    x = x(x(given))
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dense(4, dtype="bfloat16", name="half")(x)
    x = keras.layers.Reshape((2, 2))(keras.layers.Dense(4, name="four")(x))
    x = keras.layers.MultiHeadAttention(2, 2, name="att")(x, x)
    x = keras.layers.LSTM(3, name="rnn")(x)
    inner = keras.Sequential([keras.layers.Dense(5, name="in1")], name="head")
    model = keras.Model(given, keras.layers.Dense(2, name="out")(inner(x)))
    model.compile("adam", "mse")
    model.fit(np.ones((4, 8)), np.ones((4, 2)), verbose=0)
    model.save(folder / "m.keras")
    model.save_weights(folder / "m.weights.h5")
    model.save(folder / "m.h5")
    values = {v.path: np.asarray(v.numpy()).astype("float64") for v in model.weights}
    return folder, values


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5", "m.h5"])
def test_a_keras_file_has_the_names_and_values_of_the_model(saved, store, name):
    folder, values = saved
    found = of(store.log_artifact("m", folder / name))
    weights = {t.name: t for t in found if t.role == "weights"}
    assert weights.keys() == values.keys()
    for path, value in values.items():
        assert np.array_equal(found.values(weights[path]), value), path
        assert weights[path].layer == path.rpartition("/")[0]
    assert weights["half/kernel"].dtype == "bfloat16"
    assert weights["half/kernel"].nbytes == 2 * 8 * 4
    scalars = {t.name.rpartition("/")[2] for t in found if t.is_optimizer and t.size == 1}
    assert scalars == {"iteration", "learning_rate"}
    with tensors_at(folder / name) as on_disk:
        assert tuple(on_disk) == found.every


def test_the_shards_of_a_model_are_files_of_their_own(saved, store, tmp_path):
    keras = pytest.importorskip("keras")
    model = keras.models.load_model(saved[0] / "m.keras")
    try:
        model.save_weights(tmp_path / "big.weights.json", max_shard_size=1e-6)
    except (TypeError, ValueError):
        pytest.skip("this Keras has no shards")
    found = of(store.log_artifact("m", sorted(tmp_path.iterdir())))
    assert len({tensor.file for tensor in found}) > 2
    assert {t.name for t in found if t.role == "weights"} >= {"shared/kernel", "out/bias"}


def test_layers_add_up(saved):
    with tensors_at(saved[0] / "m.keras") as found:
        root = layer_tree(found)
    assert root.nbytes == sum(t.nbytes for t in found)
    assert root.count == len(found)
    assert [layer.path for layer in root.layers["head"].walk()] == ["head", "head/in1"]
    assert [t.name for t in root.layers["shared"].tensors] == ["shared/kernel", "shared/bias"]
    assert root.layers["att"].size == sum(t.size for t in found if t.layer.startswith("att/"))


class Counting(Wrapped):
    read = 0

    def get(self, key, start=0, length=None):
        data = self.inner.get(key, start, length)
        self.read += len(data) if key.startswith("blobs/") else 0
        return data


@pytest.mark.parametrize("size", [12_000, 40_000, 600_000, 3_000_000])
def test_a_listing_reads_hardly_any_values(store, file, size):
    given = arrays(0, **{f"layer{n}": size for n in range(min(24_000_000 // size, 500))})
    version = store.log_artifact("m", file(hdf5(given), "m.weights.h5"))
    bucket = Counting(store.bucket)
    found = tensors_of(bucket, version.manifest)
    assert len(found) == len(given)
    around = version.size - len(given) * size  # what the file has beside values
    assert bucket.read < around + 0.01 * version.size
    before, [last] = bucket.read, [t for t in found if t.layer == f"layer{len(given) - 1}"]
    assert np.array_equal(found.values(last), given[last.layer])
    assert bucket.read - before < size + 10_000


def test_metadata_in_large_chunks_are_found(store, tmp_path):
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["text"] = np.bytes_(b"x" * 60_000)
        for n in range(3000):
            file[f"layers/dense_{n}/vars/0"] = np.full(2, n, "f4")
    found = of(store.log_artifact("m", path))
    assert len(found) == 3000
    last = next(t for t in found if t.path == "layers/dense_2999/vars/0")
    assert found.values(last).tolist() == [2999, 2999]


KINDS = ["f2", "f4", "f8", "i1", "u8", "c8", "?", ">f4", ">i2"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "chunks": (3, 2)}])
def test_kinds_in_hdf5(tmp_path, kind, options):
    value = np.arange(35).reshape(7, 5).astype(kind)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("a", data=value, **options)
    with tensors_at(tmp_path / "x.h5") as found:
        [tensor] = found
        assert tensor.is_plain != bool(options)
        assert np.array_equal(found.values(tensor), value)
        assert sum(block.size for block in found.blocks(tensor, most=6)) == 35


@pytest.mark.parametrize("shape", [(1, 2000), (2, 3, 500), (5000,), (40, 1, 1), ()])
def test_blocks_are_small_whatever_the_shape(tmp_path, shape):
    value = np.arange(np.prod(shape, dtype=int), dtype="f4").reshape(shape)
    packed = {"compression": "gzip"} if shape else {}
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("a", data=value, **packed)
    with tensors_at(tmp_path / "x.h5") as found:
        blocks = list(found.blocks(found.every[0], most=100))
    assert max(map(len, blocks)) <= 100
    assert np.array_equal(np.concatenate(blocks), value.ravel())


@pytest.mark.parametrize("compressed", [False, True])
def test_kinds_in_npz(tmp_path, compressed):
    given = {
        "c": np.arange(6.0).reshape(2, 3),
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "scalar": np.float32(3),
        "half": np.arange(4).astype(ml_dtypes.bfloat16),
    }
    texts = {"text": np.array(["a"])}
    (np.savez_compressed if compressed else np.savez)(tmp_path / "x.npz", **given, **texts)
    with tensors_at(tmp_path / "x.npz") as found:
        assert {t.path for t in found} == set(given)
        for tensor in found:
            assert np.array_equal(found.values(tensor), given[tensor.path].astype("f8"))


def test_every_pattern_of_bfloat16_and_float8():
    from kept.store.tensors.kinds import decoded

    for name in ["bfloat16", "float8_e4m3fn", "float8_e5m2"]:
        kind = np.dtype(getattr(ml_dtypes, name))
        raw = np.arange(2 ** (8 * kind.itemsize)).astype(f"<u{kind.itemsize}")
        expected = raw.view(kind).astype(np.float32)
        assert np.array_equal(decoded(raw.tobytes(), name), expected, equal_nan=True), name


def safetensors(**given: np.ndarray) -> bytes:
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, value in given.items():
        kind = {"f4": "F32", "i8": "I64"}[value.dtype.str[1:]]
        end = len(data) + value.nbytes
        header[name.replace("__", ".")] = {
            "dtype": kind, "shape": value.shape, "data_offsets": [len(data), end],
        }  # fmt: skip
        data += value.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_safetensors(store, file):
    given = {"model__0__weight": np.ones((2, 3), "f4"), "step": np.array(7, "i8")}
    found = of(store.log_artifact("m", file(safetensors(**given), "m.safetensors")))
    assert [(t.name, t.layer, t.shape) for t in found] == [
        ("model/0/weight", "model/0", (2, 3)),
        ("step", "", ()),
    ]
    assert found.values(found.every[1]) == 7


DAMAGED = {
    "x.h5": b"\x89HDF\r\n\x1a\n" + bytes(2000),
    "x.keras": b"PK\3\4" + bytes(99),
    "x.npz": b"PK\3\4",
    "x.safetensors": struct.pack("<Q", 2**62) + b"{}",
    "y.safetensors": struct.pack("<Q", 2) + b"[]",
    "text.h5": b"hello",
    "empty.keras": b"",
    "readme.txt": b"hello",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_without_tensors_has_none(store, file, name):
    path = file(DAMAGED[name], name)
    assert of(store.log_artifact("m", path)).every == ()
    with tensors_at(path) as found:
        assert found.every == ()


def test_what_a_file_only_declares_is_no_tensor(tmp_path, store):
    np.arange(100.0).tofile(tmp_path / "raw")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("elsewhere", (100,), "f8", external=[(str(tmp_path / "raw"), 0, 800)])
        file.create_dataset("never", (2**50,), "f8")
        file.create_dataset("chunks", (2**50,), "f8", chunks=(1024,))
        file["link"] = h5py.SoftLink("/elsewhere")
        file["real"] = np.ones(3)
        file["text"] = "abc"
        file["none"] = np.zeros((0, 3))
    found = of(store.log_artifact("m", tmp_path / "x.h5"))
    assert {t.path for t in found} == {"real", "none"}
    assert {t.path: found.values(t).shape for t in found} == {"real": (3,), "none": (0, 3)}


def test_damage_of_a_blob_is_named(store, file):
    given = arrays(0, a=2_000_000, b=2_000_000)
    version = store.log_artifact("m", file(hdf5(given), "m.weights.h5"))
    found = of(version)
    [tensor] = [t for t in found if t.layer == "b"]
    [blob] = found.blobs(tensor)
    key = blob_key(blob)
    data = bytearray(store.bucket.get(key))
    data[HEADER.size + 5] ^= 1
    store.bucket.put(key, [bytes(data)])
    with pytest.raises(Damaged, match=blob):
        found.values(tensor)
    for each in store.bucket.keys("blobs/"):
        store.bucket.delete(each)
    with pytest.raises(Damaged, match="missing"):
        list(of(version))


def test_damage_inside_a_file_is_named(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("a", data=np.arange(5000), compression="gzip")
        at = made.id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[at : at + 40] = bytes(40)
    path.write_bytes(data)
    with tensors_at(path) as found, pytest.raises(InvalidInput, match=r"a in x\.h5 cannot be read"):
        found.values(found.every[0])


def test_a_path_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(InvalidPath, match="does not exist"):
        tensors_at(tmp_path / "no.keras")


def test_coded_versions_have_the_same_values(tmp_path):
    store, random = kept.open_store(tmp_path / "store"), np.random.default_rng(0)
    base = random.normal(0, 0.02, 500_000).astype("f4")
    given = [base + np.float32(n * 1e-6) for n in range(3)]
    for value in given:
        store.log_artifact("m", write(tmp_path / "m.h5", hdf5({"a": value, "b": value[:9]})))
    store.compact()
    for number, value in enumerate(given):
        found = of(store[f"m:v{number}"])
        assert np.array_equal(found.values(found.every[0]), value)


def test_who_shares_the_bytes(store, file):
    first = arrays(0, a=50_000, b=50_000, c=50_000)
    second = first | arrays(1, b=50_000)
    versions = [
        store.log_artifact("m", file(hdf5(given), "m.h5")) for given in (first, second, first)
    ]
    found = of(versions[1])
    shared = shared_with(found, {v.version: v.manifest for v in (versions[0], versions[2])})
    assert {t.layer: names for t, names in shared.items()} == {
        "a": ["v0", "v2"], "b": [], "c": ["v0", "v2"],
    }  # fmt: skip


def test_a_keras_file_that_is_compressed_has_a_list_without_tensors(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", hdf5(arrays(0, a=5000)))
    with tensors_at(write(tmp_path / "m.keras", buffer.getvalue())) as found:
        assert found.every == ()

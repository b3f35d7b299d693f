"""A state as JSON and arrays: all of it comes back, and what is none is Damaged, whatever it is."""

import io
import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from kept.digest import digest
from kept.errors import Damaged
from kept.training.resume import rng
from kept.training.resume.read_state import read_state
from kept.training.resume.state_codec import (
    decode,
    encode,
    npy_digest,
    read_arrays,
    write_arrays,
)

pytestmark = pytest.mark.any_framework


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 1.5, float("inf"), "é", [1, [2]], (1, (2.0,)), {"a": 1, 2: [3]}, {"$tuple": 1}],
)
def test_plain_values_come_back(value):
    assert decode(json.loads(json.dumps(encode(value, {}))), {}) == value


@pytest.mark.parametrize("kind", ["float32", "int8", "bool", "complex64", "bfloat16"])
def test_arrays_come_back(kind):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kind = getattr(ml_dtypes, kind, kind)
    arrays = {}
    given = [np.arange(6).reshape(2, 3).astype(kind), np.ones((), kind), np.ones(2, kind)[0]]
    encoded = json.loads(json.dumps(encode(given, arrays)))
    write_arrays("a.npz", arrays)
    for before, after in zip(given, decode(encoded, read_arrays(Path("a.npz").read_bytes())),
                             strict=True):  # fmt: skip
        assert before.dtype == after.dtype
        assert before.shape == after.shape
        assert (before == after).all()
        assert type(before) is type(after)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype="float32").reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(24).reshape(4, 6)[::2, ::3],
        np.ones((), "int8"),
        np.ones((0, 3), "complex64"),
        np.array([True, False]),
        np.arange(3, dtype=">u2"),
    ],
)
def test_the_digest_of_an_array_is_that_of_its_file(array):
    file = io.BytesIO()
    np.save(file, array)
    assert npy_digest(array) == digest(file.getvalue())


def test_a_pickle_among_the_arrays_is_not_opened():
    np.savez("a.npz", a0=np.array([print], dtype=object))
    with pytest.raises(Damaged, match="Cannot read the arrays of a state: Object arrays"):
        read_arrays(Path("a.npz").read_bytes())


def npy(shape, data=b""):
    header = io.BytesIO()
    told = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, told)
    return header.getvalue() + data


def archive(*names, content):
    """An archive, which may have one name twice."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def test_arrays_that_claim_to_be_huge_are_damaged():
    with pytest.raises(Damaged, match="Cannot read the arrays"):
        read_arrays(archive("a0.npy", content=npy((2**45,))))


@pytest.mark.parametrize("name", ["../a0.npy", "/a0.npy", "x/a0.npy", "a0", "a0.npy/", "a0.txt"])
def test_names_of_arrays_that_kept_does_not_give_are_damaged(name):
    with pytest.raises(Damaged, match="is no array of a state"):
        read_arrays(archive("a1.npy", name, content=npy((1,), b"01234567")))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_is_there_twice_is_damaged():
    with pytest.raises(Damaged, match="the same name"):
        read_arrays(archive("a0.npy", "a0.npy", content=npy((1,), b"01234567")))


@pytest.fixture
def empty():
    """The fields of a state of nothing."""
    nothing = dict.fromkeys(("random_at_epoch", "batch"))
    texts = {"framework": keras.backend.backend(), "keras_version": "3.15.1"}
    dicts = {key: {"$dict": []} for key in ("logs", "data")}
    dicts["random"] = encode(rng.capture(), {})
    lists = {key: [] for key in ("callbacks", "unfinished", "seeds", "metrics")}
    return {"format": 1, "epoch": 0, "stopped": False} | nothing | texts | dicts | lists


def read(text):
    arrays = {}
    encode(rng.capture(), arrays)
    write_arrays("kept-state.npz", arrays)
    Path("kept-state.json").write_text(text)
    return read_state(Path())


def test_a_state_of_nothing_is_read(empty):
    assert read(json.dumps(empty)).epoch == 0


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"epoch": 0}',
        DEEP,
        '{"format": 1, "epoch": 0, "epoch": 1}',
        '{"format": 1, "callbacks": []}',
    ],
    ids=["nothing", "list", "without-format", "deep", "twice", "without-fields"],
)
def test_what_is_no_state_is_damaged(text):
    with pytest.raises(Damaged, match="is not a state"):
        read(text)


@pytest.mark.parametrize(
    "logs",
    [
        {"$array": {"name": "../a0", "dtype": "float64", "scalar": False}},
        {"$array": {"name": "a0", "dtype": "print", "scalar": False}},
        {"$array": {"name": "a0", "dtype": "object", "scalar": False}},
        {"$array": {"name": "a0"}},
        {"$other": 1},
        {},
        {"$dict": [[{"$dict": []}, 1]]},
        {"$float": "1e999"},
    ],
)
def test_values_that_kept_does_not_write_are_damaged(empty, logs):
    with pytest.raises(Damaged, match="is not a state"):
        read(json.dumps(empty | {"logs": logs}))


def test_values_that_are_nested_too_deeply_are_damaged(empty):
    text = json.dumps(empty | {"logs": "here"})
    with pytest.raises(Damaged, match="is not a state"):
        read(text.replace('"here"', "[" * 900 + "]" * 900))

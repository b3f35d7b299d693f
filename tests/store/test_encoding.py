import enum
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kept.digest import digest
from kept.errors import Damaged, InvalidMetadata, Unreadable
from kept.store.encoding import again_if_damaged, canonical, parse, seal, unseal
from kept.store.metadata import check_metadata

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_what_is_sealed_comes_back(value):
    sealed = seal(value)
    assert unseal(sealed, "k") == value
    assert json.loads(sealed) == {"blake3": digest(canonical(value)), "value": value}


@given(st.dictionaries(texts, scalars))
def test_one_value_has_one_text(value):
    assert canonical(value) == canonical(dict(reversed(value.items())))
    assert b" " not in canonical({"a": [1, 2], "b": None})


@given(values, st.data())
def test_any_damage_to_a_seal_is_found(value, data):
    sealed = bytearray(seal(value))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(sealed), seal(value)[:at], seal(value) + b"}", b"", b"\x00" * 200):
        with pytest.raises(Damaged, match="artifacts/m/log/1"):
            unseal(damaged, "artifacts/m/log/1")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"nonsense", b'{"a":}'])
def test_what_is_not_json_is_damaged(data):
    with pytest.raises(Damaged, match=r"kept\.json is not JSON"):
        parse(data, "kept.json")


class Colour(str, enum.Enum):  # noqa: UP042 - unlike StrEnum, its str() is "Colour.RED"
    RED = "red"


class Number(enum.IntEnum):
    THREE = 3


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (1, 1),
        (True, True),
        (None, None),
        (0.1, 0.1),
        ("ä", "ä"),
        ((1, [2, (3,)]), [1, [2, [3]]]),
        ({"x": {"y": ()}}, {"x": {"y": []}}),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (np.float64("nan"), "nan"),
        (np.float32(0.5), 0.5),
        (np.float16("-inf"), "-inf"),
        (np.longdouble(1) / 3, 1 / 3),
        (np.longdouble("nan"), "nan"),
        (np.array([np.longdouble("inf")]), ["inf"]),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("s"), "s"),
        (np.array(2.5), 2.5),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([1.0, np.nan]), [1.0, "nan"]),
        (Colour.RED, "red"),
        (Number.THREE, 3),
    ],
)
def test_metadata_becomes_plain_json(given, stored):
    found = check_metadata({"key": given})["key"]
    assert found == stored
    assert type(found) in (type(stored), Number)
    assert unseal(seal({"key": found}), "k") == {"key": stored}


def test_a_framework_scalar_becomes_a_number():
    class Tensor:
        shape = ()

        def numpy(self):
            return np.float32(0.25)

    assert check_metadata({"loss": Tensor()}) == {"loss": 0.25}


def test_a_tensor_that_cannot_be_read_is_named():
    class Tensor:
        """As a tensor of torch on the device meta, which has no data."""

        shape = ()

        def tolist(self):
            raise NotImplementedError("no data!")

    with pytest.raises(InvalidMetadata, match=r"metadata\['loss'\] cannot be read.*Tensor: no da"):
        check_metadata({"loss": Tensor()})


def endless():
    value = {}
    value["again"] = value
    return value


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": object()},
        {"a": {1, 2}},
        {"a": b"bytes"},
        {"a": 1j},
        {"a": np.datetime64("2026-01-01")},
        {"a": np.clongdouble(1)},
        {"a": np.longdouble("1e400")},
        {"a": "\ud800"},
        {"\ud800": 1},
        {1: "a"},
        {"a": {None: 1}},
        {"a": 10**5000},
        endless(),
        [("a", 1)],
        "text",
    ],
    ids=lambda value: str(type(value)),
)
def test_metadata_that_json_cannot_hold(metadata):
    with pytest.raises(InvalidMetadata):
        check_metadata(metadata)


def test_the_message_says_where():
    with pytest.raises(
        InvalidMetadata, match=r"metadata\['a'\]\[1\]\['b'\] .*Received: .* type set"
    ):
        check_metadata({"a": [0, {"b": set()}]})
    assert check_metadata(None) == {}


@pytest.mark.parametrize(
    ("errors", "reads"),
    [([], 1), ([Damaged("a")], 2), ([Damaged("a")] * 2, 2), ([Unreadable()], 1)],
)
def test_damage_is_read_once_more(errors, reads):
    found = []

    def read():
        found.append(0)
        if errors:
            raise errors.pop()
        return "sound"

    if len(errors) < reads:
        assert again_if_damaged(read) == "sound"
    else:
        with pytest.raises(Damaged):
            again_if_damaged(read)
    assert len(found) == reads

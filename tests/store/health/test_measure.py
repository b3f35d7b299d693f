"""Figures of tensors from their bytes: for each type, at each odd size, with NaN and infinities."""

import math

import ml_dtypes
import numpy as np
import pytest

from kept.store.health import measure
from kept.store.health.measure import dead_units, figures, figures_of_many, zeros_at

TYPES = {
    "float32": np.float32, "float64": np.float64, "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}  # fmt: skip
EACH_TYPE = pytest.mark.parametrize("dtype", TYPES)
SIZES = [1, 2, 3, 5, 1000, 32767, 32768, 32769, 65537, 131_071, 131_073, 200_001]


def values(dtype, size, scale=1.0):
    numbers = np.random.default_rng(size).standard_normal(size) * scale
    return numbers.astype(TYPES[dtype])


def data(array):
    return array.reshape(-1).view(np.uint8)


def exact(array):
    return float(np.sum(array.astype(np.float64) ** 2))


@EACH_TYPE
@pytest.mark.parametrize("size", SIZES)
def test_the_sum_of_squares(dtype, size):
    array = values(dtype, size)
    found = figures(data(array), dtype)
    assert found.squares == pytest.approx(exact(array), rel=1e-5)
    assert found[1:] == (0, 0)


@EACH_TYPE
@pytest.mark.parametrize("size", [3, 32768, 100_001])
def test_nan_and_infinities_are_counted_wherever_they_are(dtype, size):
    array = values(dtype, size)
    array[0], array[size // 2], array[-1] = math.nan, math.inf, -math.inf
    found = figures(data(array), dtype)
    assert found[1:] == (1, 2)
    assert not math.isfinite(found.squares)


@EACH_TYPE
def test_one_nan_among_many_is_found(dtype):
    array = values(dtype, 200_001)
    for place in (0, 1, 2, 3, 65_535, 65_536, 131_071, 131_072, 200_000):
        wrong = array.copy()
        wrong[place] = math.nan
        assert figures(data(wrong), dtype).nans == 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_large_values_are_no_infinities(dtype):
    array = np.full(1000, 1e30, TYPES[dtype])
    found = figures(data(array), dtype)
    assert found.squares == pytest.approx(1e63, rel=1e-2)
    assert found[1:] == (0, 0)


def test_the_largest_float16_is_no_infinity():
    array = np.full(1001, 65504, np.float16)
    assert figures(data(array), "float16") == (pytest.approx(exact(array)), 0, 0)


def test_small_float16_count():
    array = np.full(1000, 6e-8, np.float16)  # below the normal numbers
    assert figures(data(array), "float16").squares == pytest.approx(exact(array), rel=1e-5)


@EACH_TYPE
def test_many_tensors_at_once(dtype):
    parts = [values(dtype, size) for size in (1, 7, 16, 300, 4096)]
    parts[3][5] = math.nan
    joined = data(np.concatenate(parts))
    squares, wrong = figures_of_many(joined, dtype, np.array([part.size for part in parts]))
    good = [0, 1, 2, 4]
    assert squares[good] == pytest.approx([exact(parts[n]) for n in good], rel=1e-5)
    assert wrong.keys() == {3}
    assert wrong[3][1:] == (1, 0)


def test_a_large_value_among_many_tensors_is_no_infinity():
    parts = [np.full(4, 1e30, np.float32), np.ones(3, np.float32)]
    squares, wrong = figures_of_many(data(np.concatenate(parts)), "float32", np.array([4, 3]))
    assert squares == pytest.approx([4e60, 3.0])
    assert wrong[0][1:] == (0, 0)


@EACH_TYPE
def test_dead_units_are_columns_of_zeros(dtype):
    kernel = values(dtype, 50 * 40).reshape(50, 40)
    kernel[:, 3] = 0
    kernel[:, 7] = -0.0
    kernel[:, 9] = 0
    kernel[49, 9] = 1e-7  # alive by its last weight
    kernel[0, :] = 0  # a row of zeros alone is not enough
    assert dead_units(data(kernel), dtype, 40).tolist() == [3, 7]


@EACH_TYPE
def test_all_units_are_dead_and_none(dtype):
    assert dead_units(data(np.zeros((300, 40), TYPES[dtype])), dtype, 40).tolist() == [*range(40)]
    assert dead_units(data(np.ones((300, 40), TYPES[dtype])), dtype, 40).size == 0


def test_a_pruned_kernel_has_few_dead_units():
    rng = np.random.default_rng(0)
    kernel = np.where(rng.random((300, 1000)) < 0.99, 0, 1).astype(np.float32)
    expected = np.flatnonzero(~kernel.any(axis=0)).tolist()
    assert dead_units(data(kernel), "float32", 1000).tolist() == expected
    assert expected


def test_nan_is_not_dead():
    kernel = np.full((4, 2), math.nan, np.float32)
    assert dead_units(data(kernel), "float32", 2).size == 0


@EACH_TYPE
def test_zeros_at_places(dtype):
    array = np.array([0.0, 1.0, -0.0, math.nan, 1e-7], TYPES[dtype])
    found = zeros_at(data(array), dtype, np.array([4, 3, 2, 1, 0]))
    assert found.tolist() == [False, False, True, False, True]


def test_other_types_are_not_measured():
    kinds = ["int8", "bool", "string", "uint32", "float8_e4m3fn", "complex64"]
    assert not any(map(measure.can_measure, kinds))


def test_the_norm_of_all():
    assert measure.norm([9.0, 16.0]) == 5.0
    assert measure.norm([]) == 0.0
    assert math.isnan(measure.norm([9.0, math.nan]))

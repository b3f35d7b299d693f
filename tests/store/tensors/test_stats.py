"""Statistics of tensors."""

import h5py
import numpy as np
import pytest

from kept.store.tensors import tensors as tensors_module
from kept.store.tensors.stats import stats_of
from kept.store.tensors.tensors import tensors_at


@pytest.fixture
def stats(tmp_path):
    def measure(value, bins=0):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["a"] = value
        with tensors_at(tmp_path / "x.h5") as found:
            return stats_of(found, found.every[0], bins)

    return measure


def test_figures(stats, monkeypatch):
    monkeypatch.setattr(tensors_module, "BLOCK", 100)
    value = np.random.default_rng(0).normal(3, 2, (50, 41)).astype("f4")
    value[0, :5] = 0
    found = stats(value, bins=10)
    exact = value.astype("f8")
    assert found.norm == pytest.approx(np.linalg.norm(exact), rel=1e-12)
    assert found.mean == pytest.approx(exact.mean(), rel=1e-12)
    assert (found.minimum, found.maximum) == (exact.min(), exact.max())
    assert (found.zeros, found.nans, found.infinities) == (5, 0, 0)
    counts, edges = np.histogram(exact, 10)
    assert found.histogram.counts == tuple(counts)
    assert found.histogram.edges == pytest.approx(edges)
    assert found.to_json()["zero_share"] == 5 / value.size


def test_what_is_not_finite_is_counted_and_left_out(stats):
    found = stats(np.array([np.nan, np.inf, -np.inf, 3, 4], "f2"), bins=2)
    assert (found.nans, found.infinities, found.norm, found.mean) == (1, 2, 5, 3.5)
    assert found.histogram.counts == (1, 1)
    nothing = stats(np.full(4, np.nan, "f4"), bins=2)
    assert (nothing.mean, nothing.minimum, nothing.histogram, nothing.norm) == (None, None, None, 0)


@pytest.mark.parametrize(
    ("value", "norm"),
    [
        (np.full(4, 1e200), 2e200),
        (np.full(4, 1e-200), 2e-200),
        (np.full(16, 60000, "f2"), 4 * 59999.0 + 4),
        (np.array([3, 4], "i8"), 5),
        (np.array([True, False, True, True, True]), 2),
        (np.array([3 + 4j, 0]), 5),
        (np.zeros(3), 0),
        (np.zeros(0), 0),
    ],
)
def test_norms(stats, value, norm):
    assert stats(value, 4).norm == pytest.approx(norm, rel=1e-4)


@pytest.mark.parametrize("value", [0.0, 7.5, -1e30, 1e-310])
def test_equal_values_are_in_one_bin(stats, value):
    found = stats(np.full(9, value), bins=5)
    assert sum(found.histogram.counts) == 9
    assert max(found.histogram.counts) == 9


def test_the_widest_span_has_a_histogram(stats):
    found = stats(np.array([-1.7e308, 0, 1.7e308]), bins=4)
    assert sum(found.histogram.counts) == 3

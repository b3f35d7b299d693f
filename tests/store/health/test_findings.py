"""What makes a version unhealthy, and what does not."""

import math

import numpy as np
import pytest

from kept.store.health.findings import Layers, Statistics, Wrong, judge
from kept.store.health.measure import Figures

DENSE = Layers(("dense", "out"), (1600, 100), {"dense/kernel": 40, "out/kernel": 10})


def stats(dense=4.0, out=1.0, *, dead=None, wrong=(), norm=4.2, layers=DENSE):
    units = {name: frozenset(found) for name, found in (dead or {}).items()}
    tensors = [Wrong(*one) for one in wrong]
    return Statistics(layers, np.array([dense, out]), units, norm, tensors)


def test_a_first_version_is_ok():
    assert judge(stats(dead={"dense/kernel": range(40)}), None) == {
        "health": "ok", "weights_norm": 4.2
    }  # fmt: skip


def test_nan_and_infinities():
    wrong = [("dense/kernel", 640, Figures(math.nan, 12, 1)), ("a", 1, Figures(math.nan, 1, 0)),
             ("b", 3, Figures(math.inf, 0, 3))]  # fmt: skip
    assert judge(stats(wrong=wrong, norm=math.nan), None)["health"] == "unhealthy"
    assert judge(stats(wrong=wrong), None)["health_findings"] == [
        "dense/kernel: 12 of 640 values are NaN",
        "dense/kernel: 1 of 640 values are infinite",
        "a: the value is NaN",
        "b: all 3 values are infinite",
    ]


@pytest.mark.parametrize(("old", "new", "text"), [
    (4.0, 4000.0, "dense: the norm of its weights is 1,000 times that of the version before"),
    (4.0, 0.004, "dense: the norm of its weights is 1/1,000 times that of the version before"),
    (4.0, 0.0, "dense: all its weights are 0, and were not in the version before"),
    (0.0, 400.0, "dense: the norm of its weights is 400, and was 0 in the one before"),
])  # fmt: skip
def test_a_norm_that_changes_a_thousandfold(old, new, text):
    found = judge(stats(new), stats(old))
    assert (found["health"], found["health_findings"]) == ("unhealthy", [text])


@pytest.mark.parametrize(("old", "new"), [
    (4.0, 3999.0), (4.0, 0.0041),  # less than that
    (0.0, 30.0), (1e-9, 30.0), (0.001, 30.0),  # from nothing: a layer that begins at zero
    (0.003, 1e-9), (0.0, 0.0),  # to nothing, from nearly nothing
    (math.nan, 4.0), (4.0, math.nan), (math.inf, 4.0),  # the values themselves are the finding
])  # fmt: skip
def test_a_norm_that_is_no_finding(old, new):
    assert judge(stats(new), stats(old))["health"] == "ok"


def test_a_layer_of_few_values_may_have_any_norm():
    few = Layers(("dense", "scale"), (1600, 15), {})
    found = judge(stats(out=1e-9, layers=few), stats(layers=few))
    assert found["health"] == "ok"


def test_units_that_die():
    before = stats(dead={"dense/kernel": [0, 1, 2]})
    notes = judge(stats(dead={"dense/kernel": range(22)}), before)
    assert (notes["health"], notes["health_findings"]) == (
        "notes",
        ["dense/kernel: 19 of 40 units are newly dead, all their weights are 0"],
    )
    assert judge(stats(dead={"dense/kernel": range(23)}), before)["health"] == "unhealthy"


def test_units_that_were_dead_before_are_no_finding():
    pruned = stats(dead={"dense/kernel": range(36), "out/kernel": range(10)})
    assert judge(pruned, pruned)["health"] == "ok"
    assert judge(stats(), pruned)["health"] == "ok"


def test_another_model_is_not_compared():
    other = Layers(("dense", "other"), (1600, 100), DENSE.kernels)
    assert judge(stats(4e9, layers=other), stats())["health"] == "ok"


def test_findings_are_few():
    wrong = [(f"layer_{n}", 10, Figures(math.nan, 1, 0)) for n in range(40)]
    found = judge(stats(wrong=wrong), None)["health_findings"]
    assert len(found) == 8
    assert found[-1] == "and 33 more findings"

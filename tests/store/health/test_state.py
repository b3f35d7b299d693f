"""What the metadata of a version say of its health."""

import math

import pytest

from kept.store.health.state import Health, health_in, is_unhealthy


def test_health_is_read_from_metadata():
    said = {"health": "unhealthy", "health_findings": ["a: NaN", "b: dead"], "weights_norm": 2.5}
    assert health_in(said) == Health("unhealthy", ("a: NaN", "b: dead"), 2.5)
    assert health_in(said).is_unhealthy
    assert health_in(said).is_marked
    assert is_unhealthy(said)


def test_a_version_of_an_earlier_kept_was_not_measured():
    assert health_in({}) == Health(None, (), None)
    assert str(health_in({})) == "not measured"
    assert not health_in({}).is_marked


@pytest.mark.parametrize("state", [None, 3, True, ["ok"], {"a": 1}, "fine", "OK"])
def test_a_state_of_another_program_is_none(state):
    assert health_in({"health": state, "health_findings": ["x"], "weights_norm": 1.0}).state is None
    assert not is_unhealthy({"health": state})


def test_findings_and_norm_of_another_form_are_left_out():
    found = health_in({"health": "notes", "health_findings": [1, "a", None], "weights_norm": "big"})
    assert found == Health("notes", ("a",), None)
    assert health_in({"health": "notes", "health_findings": "abc"}).findings == ()
    assert health_in({"health": "ok", "weights_norm": True}).norm is None
    assert health_in({"health": "ok", "weights_norm": 10**400}).norm is None


def test_findings_are_few_and_short():
    found = health_in({"health": "notes", "health_findings": ["x" * 10**6] * 50}).findings
    assert len(found) == 8
    assert all(len(text) == 500 for text in found)


def test_a_norm_that_is_not_finite_is_a_text_in_metadata():
    assert health_in({"health": "unhealthy", "weights_norm": "inf"}).norm == math.inf
    assert math.isnan(health_in({"health": "unhealthy", "weights_norm": "nan"}).norm)

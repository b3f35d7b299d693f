"""Reads that take all workers are made together, and answered while one of them writes."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from kept.training.group import read_together as reading
from kept.training.group.read_together import already_read, read_together, reading_needs_all

pytestmark = pytest.mark.any_framework


class Variable:
    """What the module uses of a SyncOnReadVariable."""

    def __init__(self, synchronization="ON_READ", aggregation="MEAN", strategy="of two"):
        self.synchronization, self.aggregation = synchronization, aggregation
        self.distribute_strategy, self.reads = strategy, 0

    def _get_cross_replica(self):
        self.reads += 1
        return self.reads

    def read_value(self):
        return self._get_cross_replica()


@pytest.fixture(autouse=True)
def tensorflow(monkeypatch):
    names = SimpleNamespace(ON_READ="ON_READ", ONLY_FIRST_REPLICA="FIRST")
    tf = SimpleNamespace(
        Variable=Variable, VariableSynchronization=names, VariableAggregation=names
    )
    monkeypatch.setitem(sys.modules, "tensorflow", tf)
    monkeypatch.setitem(sys.modules, "tf_keras", SimpleNamespace())
    of_two = {"of two": (0, 2)}
    monkeypatch.setattr(reading, "place_in", of_two.get)


def test_which_variables_need_all():
    assert reading_needs_all([Variable("AUTO"), Variable()])
    assert not reading_needs_all([Variable("AUTO"), Variable(aggregation="FIRST"), 3])
    assert not reading_needs_all([Variable(strategy="of one")])


def test_each_is_read_once_and_that_value_is_written():
    mean, total, plain = Variable(), Variable(aggregation="SUM"), Variable("AUTO")
    model = SimpleNamespace(
        variables=[plain, mean, total], metrics=[SimpleNamespace(variables=[total])]
    )
    values = read_together(model)
    assert [one for one, _ in values] == [mean, total]
    with already_read(values):
        assert [mean.read_value(), mean.read_value(), total.read_value()] == [1, 1, 1]
    assert (mean.reads, total.reads, plain.reads) == (1, 1, 0)
    assert mean.read_value() == 2


def test_nothing_is_read_without_tf_keras(monkeypatch):
    monkeypatch.delitem(sys.modules, "tf_keras")
    assert read_together(object()) == []

"""Snapshots and their pool, without a model."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from kept.training.snapshot.pool import SNAPSHOTS, plain_pool
from kept.training.snapshot.snapshot import Snapshot

pytestmark = pytest.mark.any_framework


class Variable:
    """As much of a Keras variable as a snapshot needs, with a value as JAX and NumPy have it."""

    def __init__(self, *shape, value=0.0, dtype="float32"):
        self.value = np.full(shape, value, dtype)


class TestSnapshot:
    @pytest.fixture
    def snapshot(self):
        return Snapshot("jax")

    def test_is_a_copy(self, snapshot):
        variable = Variable(3, value=1)
        snapshot.take([variable])
        variable.value[:] = 2
        assert snapshot.value(variable).tolist() == [1, 1, 1]

    def test_memory_is_used_again(self, snapshot):
        variable = Variable(3)
        snapshot.take([variable])
        buffer = snapshot.value(variable)
        variable.value = np.ones(3, "float32")
        snapshot.take([variable])
        assert snapshot.value(variable) is buffer
        assert buffer.tolist() == [1, 1, 1]

    @pytest.mark.parametrize("other", [Variable(4), Variable(3, 1), Variable(3, dtype="float16")])
    def test_another_shape_or_type(self, snapshot, other):
        variable = Variable(3)
        snapshot.take([variable])
        variable.value = other.value + 1
        snapshot.take([variable])
        found = snapshot.value(variable)
        assert (found.shape, found.dtype) == (other.value.shape, other.value.dtype)
        assert (found == 1).all()

    def test_only_what_was_taken_last_is_there(self, snapshot):
        first, second = Variable(3), Variable(5)
        snapshot.take([first])
        snapshot.take([second])
        assert snapshot.value(first) is None
        assert snapshot.size == 20

    def test_values_without_dimensions_and_without_elements(self, snapshot):
        variables = [Variable(value=7), Variable(0)]
        snapshot.take(variables)
        assert [snapshot.value(v).tolist() for v in variables] == [7, []]


class TestPool:
    def test_lends_two(self):
        pool = plain_pool("jax")
        lent = [pool.borrow(wait=False) for _ in range(SNAPSHOTS + 1)]
        assert SNAPSHOTS == 2
        assert lent[0] is not lent[1]
        assert lent[2] is None

    def test_waits_for_one_to_come_back(self):
        pool = plain_pool("jax")
        lent = [pool.borrow(wait=True) for _ in range(SNAPSHOTS)]
        threading.Timer(0.05, pool.give_back, [lent[0]]).start()
        assert pool.borrow(wait=True) is lent[0]

    def test_the_warm_one_is_lent_first(self):
        pool = plain_pool("jax")
        for _ in range(3):
            pool.give_back(warm := pool.borrow(wait=True))
        assert pool.borrow(wait=True) is warm

    def test_only_the_one_that_is_lent_next_has_memory(self):
        pool, variables = plain_pool("jax"), [Variable(3, value=5)]
        pool.reserve(variables)
        pool.touch()
        first, second = pool.borrow(wait=True), pool.borrow(wait=True)
        assert first.size == 3 * 4
        assert second.size == 0
        second.take(variables)
        assert second.value(variables[0]).tolist() == [5, 5, 5]

    def test_while_one_is_lent_it_is_the_other_that_gets_memory(self):
        pool, variables = plain_pool("jax"), [Variable(3, value=5)]
        first = pool.borrow(wait=True)
        first.take(variables)
        pool.reserve(variables)
        pool.touch()
        assert pool.borrow(wait=True).size == 3 * 4
        pool.reserve(variables)  # none is free: nothing happens
        assert first.value(variables[0]).tolist() == [5, 5, 5]

    def test_what_a_snapshot_holds_is_not_touched_again(self):
        """In the second fit the memory is warm, and may be lent to a save at once."""
        pool, variables = plain_pool("jax"), [Variable(3, value=5)]
        lent = pool.borrow(wait=True)
        lent.take(variables)
        pool.give_back(lent)
        more = [*variables, Variable(2, value=6)]
        pool.reserve(more)
        pool.touch()
        assert lent.value(variables[0]).tolist() == [5, 5, 5]
        assert lent.value(more[1]).tolist() == [0, 0]

    def test_what_is_lent_is_not_touched(self):
        pool, variable = plain_pool("jax"), Variable(3, value=5)
        pool.reserve([variable])
        lent = pool.borrow(wait=True)
        lent.take([variable])
        pool.touch()
        assert lent.value(variable).tolist() == [5, 5, 5]

    def test_a_save_takes_what_is_being_touched(self):
        """Its own memory is half warm, the other one's would be cold, and memory twice."""
        pool, variable = plain_pool("jax"), Variable(3, value=5)
        pool.reserve([variable])
        begun, goes_on = threading.Event(), threading.Event()

        class Slow:
            flags = SimpleNamespace(writeable=True)

            def __setitem__(self, *_):
                begun.set()
                goes_on.wait(10)

        reserved = pool._free[-1]
        reserved._cold.append(Slow())
        touching = threading.Thread(target=pool.touch)
        touching.start()
        begun.wait(10)
        assert pool.borrow(wait=False) is reserved
        threading.Timer(0.05, goes_on.set).start()
        reserved.take([variable])
        touching.join(10)
        assert reserved.value(variable).tolist() == [5, 5, 5]

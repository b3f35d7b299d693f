"""The data's own state: copied when it is taken, and given back to data that takes it."""

from __future__ import annotations

import types

import numpy as np
import pytest

from kept.training.data import data_state
from kept.training.data.running_fit import Fit
from tests.training.data.fake_fit import fit_of

pytestmark = pytest.mark.any_framework


class Remembering:
    """A dataset with a state."""

    def __init__(self):
        self.state = {"at": [1]}

    def get_state(self):
        return self.state

    def set_state(self, state):
        self.state = state


def py_dataset(dataset):
    return fit_of("PyDatasetAdapter", py_dataset=dataset)


def test_the_metadata_of_a_fit():
    fit = fit_of("ArrayDataAdapter", batch_size=8, epochs={"num_batches": 5})
    found = data_state.data_metadata(fit, 2, {"dataset": 1})
    assert found == {"first_epoch": 2, "batches": 5, "batch_size": 8, "own": {"dataset": 1}}


def test_the_metadata_of_an_unknown_fit():
    found = data_state.data_metadata(Fit(), 0, {})
    assert found == {"first_epoch": 0, "batches": None, "batch_size": None, "own": {}}


def test_a_state_is_a_copy_both_ways():
    dataset = Remembering()
    own = data_state.own_state(py_dataset(dataset))
    dataset.state["at"].append(2)
    assert own == {"dataset": {"at": [1]}}
    data_state.restore_own(py_dataset(dataset), own)
    assert dataset.state == {"at": [1]}
    dataset.state["at"].append(3)
    assert own == {"dataset": {"at": [1]}}


@pytest.mark.parametrize("missing", ["get_state", "set_state"])
def test_data_without_both_methods_has_no_state(missing):
    dataset = Remembering()
    setattr(dataset, missing, None)
    assert not data_state.has_own_state(dataset)
    assert data_state.own_state(py_dataset(dataset)) == {}
    data_state.restore_own(py_dataset(dataset), {"dataset": "other"})
    assert dataset.state == {"at": [1]}


def test_other_data_has_none():
    assert data_state.own_state(Fit()) == {}
    assert data_state.dataset_of(Fit()) is None
    assert data_state.loader_of(Fit()) is None
    data_state.restore_own(Fit(), {"dataset": 1, "generators": [2]})


def test_the_generators_of_a_loader_are_restored_each_once():
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(1)
    sampler = types.SimpleNamespace(generator=generator)
    other = types.SimpleNamespace(generator=torch.Generator().manual_seed(2))
    loader = types.SimpleNamespace(
        generator=generator, sampler=sampler, batch_sampler=types.SimpleNamespace(sampler=other)
    )
    fit = fit_of("TorchDataLoaderAdapter", _dataloader=loader)
    own = data_state.own_state(fit)
    assert len(own["generators"]) == 2

    def draw():
        return [torch.rand(3, generator=one).numpy() for one in (generator, other.generator)]

    drawn = draw()
    assert not np.array_equal(draw(), drawn)
    data_state.restore_own(fit, own)
    np.testing.assert_array_equal(draw(), drawn)

"""Whether a position in the data can be found again, and the reason if it cannot."""

from __future__ import annotations

import re
import types

import keras
import numpy as np
import pytest

import kept
from kept.training.data import data_state
from kept.training.data.running_fit import Fit
from kept.training.resume import position, rng
from kept.training.resume.state import State
from tests.training.data.fake_fit import fit_of

HERE = keras.backend.backend()
OTHER = "torch" if HERE != "torch" else "jax"


def state_of(epoch=1, batch=None, framework=HERE, **data):
    return State(
        epoch=epoch,
        batch=batch,
        logs={},
        random={"framework": {"seed": 1}},
        random_at_epoch=None,
        callbacks={},
        unfinished=[],
        stopped=False,
        framework=framework,
        data=data,
    )


def arrays(*, shuffle=True, **attributes):
    return fit_of("ArrayDataAdapter", _shuffle=shuffle, **attributes)


def stream(steps=3, num_batches=None):
    return fit_of("TFDatasetAdapter", num_batches=num_batches, epochs={"steps_per_epoch": steps})


@pytest.mark.any_framework
class TestBatches:
    @pytest.mark.parametrize(
        ("saved", "now", "reason"),
        [
            ({"batches": 5}, {"epochs": {"num_batches": 6}}, "5 batches in an epoch, now .* 6"),
            ({"batch_size": 8}, {"batch_size": 4}, "8 rows in a batch, now there are 4"),
        ],
    )
    def test_other_ones_are_named(self, saved, now, reason):
        fit = fit_of("TFDatasetAdapter", **now)
        for find in (
            position.other_batches,
            position.cannot_find_batch,
            position.cannot_find_epoch,
        ):
            found = find(fit, state_of(**saved))
            assert re.search(reason, found)

    @pytest.mark.parametrize("saved", [{}, {"batches": None}, {"batches": 6, "batch_size": 4}])
    def test_equal_and_unknown_ones_are_fine(self, saved):
        fit = fit_of("TFDatasetAdapter", batch_size=4, epochs={"num_batches": 6})
        assert position.other_batches(fit, state_of(**saved)) is None


@pytest.mark.any_framework
class TestProcesses:
    """Another number of processes finds the position of a kept.Dataset that they divide."""

    @staticmethod
    def data(processes, *, seed=0):
        made = kept.Dataset(np.zeros((8, 1)), batch_size=4, seed=seed, shard=(0, processes))
        return fit_of("PyDatasetAdapter", py_dataset=made, epochs={"num_batches": 2})

    @staticmethod
    def saved(processes, fit):
        state = state_of(**data_state.data_metadata(fit, 0, {}))
        state.processes = processes
        return state

    @pytest.mark.parametrize(("before", "now"), [(1, 2), (2, 1), (2, 4), (4, 2), (2, 2)])
    def test_a_divided_dataset(self, before, now):
        state = self.saved(before, self.data(before))
        assert position.cannot_find_batch(self.data(now), state, now) is None
        assert position.cannot_find_epoch(self.data(now), state, now) is None

    def test_another_order(self):
        state = self.saved(2, self.data(2))
        found = position.cannot_find_batch(self.data(4, seed=1), state, 4)
        assert found == "the kept.Dataset is another one"

    def test_a_dataset_that_each_process_reads_as_a_whole(self):
        state = self.saved(2, self.data(1))
        found = position.cannot_find_batch(self.data(1), state, 4)
        assert found == "2 processes read the data before, and 4 processes read it now"

    @pytest.mark.parametrize(("before", "now"), [(1, 2), (2, 1)])
    def test_other_data(self, before, now):
        state = self.saved(before, arrays())
        assert "1 process read" in position.cannot_find_epoch(arrays(), state, now)


@pytest.mark.any_framework
class TestStreams:
    """The end of an epoch is one epoch further than its middle."""

    @pytest.mark.parametrize(("epoch", "in_epoch", "after"), [(1, True, True), (2, True, False)])
    def test_they_can_be_read_up_to_their_end(self, epoch, in_epoch, after):
        fit, state = stream(steps=3, num_batches=7), state_of(epoch)
        assert (position.cannot_find_batch(fit, state) is None) is in_epoch
        assert (position.cannot_find_epoch(fit, state) is None) is after

    def test_they_count_from_the_first_epoch_of_the_data(self):
        fit = stream(steps=3, num_batches=7)
        assert position.cannot_find_epoch(fit, state_of(5)) is not None
        assert position.cannot_find_epoch(fit, state_of(5, first_epoch=4)) is None


class TestShuffledArrays:
    def test_another_framework_has_another_order_within_an_epoch(self):
        reason = position.cannot_find_batch(arrays(), state_of(framework=OTHER))
        assert reason == f"{OTHER} shuffled the data before, and {HERE} shuffles it now"
        assert position.cannot_find_batch(arrays(shuffle=False), state_of(framework=OTHER)) is None
        assert position.cannot_find_epoch(arrays(), state_of(framework=OTHER)) is None

    @pytest.mark.skipif(HERE == "tensorflow", reason="TensorFlow has a seed of its own")
    def test_elsewhere_the_seed_does_not_matter(self):
        assert position.other_seed(arrays(), state_of()) is None

    @pytest.mark.skipif(HERE != "tensorflow", reason="only TensorFlow shuffles by its seed")
    def test_on_tensorflow_the_seed_has_to_be_the_same(self):
        keras.utils.set_random_seed(3)
        state = state_of()
        state.random = rng.capture()
        assert position.other_seed(arrays(), state) is None
        keras.utils.set_random_seed(4)
        assert "global seed" in position.other_seed(arrays(), state)
        assert "global seed" in position.cannot_find_epoch(arrays(), state)
        assert position.other_seed(arrays(shuffle=False), state) is None
        assert position.other_seed(stream(), state) is None


@pytest.mark.any_framework
class TestDoubts:
    def test_unknown_data(self):
        assert "cannot see which data" in position.doubt(Fit())

    def test_arrays_are_certain(self):
        assert position.doubt(arrays()) is None

    @pytest.mark.parametrize("kind", ["TFDatasetAdapter", "GeneratorDataAdapter"])
    def test_data_that_only_the_user_can_make_again(self, kind):
        assert "gives the same batches" in position.doubt(fit_of(kind))

    def test_a_dataset_of_keras_that_changes_itself(self):
        class Plain(keras.utils.PyDataset):
            pass

        class Changing(Plain):
            def on_epoch_end(self):
                pass

        class WithEpochs(Changing):
            def set_epoch(self, epoch, done):
                pass

        class WithState(Changing):
            def get_state(self):
                pass

            def set_state(self, state):
                pass

        def doubt_of(kind):
            return position.doubt(fit_of("PyDatasetAdapter", py_dataset=kind()))

        assert (doubt_of(Plain) is None) is (HERE != "tensorflow")  # which reads ahead
        assert "Plain.__getitem__ draws no random numbers" in doubt_of(lambda: Plain(workers=2))
        assert "Changing.on_epoch_end does not change the batches" in doubt_of(Changing)
        assert doubt_of(WithEpochs) is None
        assert (doubt_of(WithState) is None) is (HERE != "tensorflow")

    def test_a_loader_with_samplers_of_the_user(self):
        class Sampler:
            pass

        OfTorch = type("RandomSampler", (), {"__module__": "torch.utils.data.sampler"})  # noqa: N806

        def doubt_of(sampler, dataset=(), **options):
            options |= {"batch_sampler": None, "sampler": sampler, "dataset": dataset}
            loader = types.SimpleNamespace(**options)
            return position.doubt(fit_of("TorchDataLoaderAdapter", _dataloader=loader))

        assert "Sampler has no state except" in doubt_of(Sampler())
        assert doubt_of(OfTorch()) is None
        assert "iterable dataset" in doubt_of(OfTorch(), dataset=iter(()))
        assert "persistent workers" in doubt_of(OfTorch(), persistent_workers=True)


@pytest.mark.any_framework
class TestEpochs:
    class Data:
        called = None

        def set_epoch(self, epoch, done):
            self.called = epoch, done

    @pytest.mark.parametrize(("shuffle", "done"), [(False, 2), (True, 0)])
    def test_data_learns_which_epoch_begins(self, shuffle, done):
        data = self.Data()
        fit = fit_of("PyDatasetAdapter", py_dataset=data, shuffle=shuffle)
        position.start_epoch(fit, 3, 2)
        assert data.called == (3, done), "Keras's own shuffling needs every batch"

    def test_other_data_does_not(self):
        position.start_epoch(Fit(), 3)
        position.start_epoch(fit_of("PyDatasetAdapter", py_dataset=object()), 3)

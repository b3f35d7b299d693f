"""Data is brought to the batch where an epoch begins, or a reason says why not."""

from __future__ import annotations

import keras
import pytest

from kept.errors import CannotResume
from kept.training.data import seek
from tests.training.data.fake_fit import fit_of

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


def stream(kind="TFDatasetAdapter", *, steps=3, rows=(), **attributes):
    return fit_of(kind, epochs={"steps_per_epoch": steps, "rows": rows}, **attributes)


class Counting:
    """A tf.data.Dataset that counts how often it is started."""

    def __init__(self):
        self.started = 0

    def __iter__(self):
        self.started += 1
        return iter(())


@pytest.mark.any_framework
class TestStreams:
    @pytest.mark.parametrize(
        ("fit", "is_stream"),
        [
            (fit_of("ArrayDataAdapter", num_batches=5), False),
            (fit_of("ArrayDataAdapter", num_batches=5, epochs={"steps_per_epoch": 5}), False),
            (fit_of("ArrayDataAdapter", num_batches=5, epochs={"steps_per_epoch": 3}), True),
            (stream(), True),
            (fit_of("TFDatasetAdapter"), False),
            (fit_of("GeneratorDataAdapter"), True),
        ],
    )
    def test_they_continue_from_epoch_to_epoch(self, fit, is_stream):
        assert seek.is_stream(fit) is is_stream

    def test_nothing_is_to_seek_before_the_first_epoch(self):
        assert seek.cannot_seek(fit_of("GeneratorDataAdapter"), 0) is None

    def test_a_generator_without_steps_cannot_be_sought(self):
        assert "begins again" in seek.cannot_seek(fit_of("GeneratorDataAdapter"), 1)

    def test_a_generator_with_steps_can(self):
        assert seek.cannot_seek(stream("GeneratorDataAdapter"), 1) is None

    def test_data_with_another_number_of_steps_cannot(self):
        reason = seek.cannot_seek(stream("ArrayDataAdapter", num_batches=5), 1)
        assert "with steps_per_epoch" in reason

    @pytest.mark.parametrize(("epochs", "can"), [(1, True), (2, True), (3, False)])
    def test_a_stream_that_ends_can_up_to_its_end(self, epochs, can):
        fit = stream(num_batches=7)
        assert (seek.cannot_seek(fit, epochs) is None) is can

    def test_their_batches_are_counted(self):
        assert seek.batches_to_read(stream(), 2) == 6
        assert seek.batches_to_read(fit_of("ArrayDataAdapter", num_batches=3), 2) == 0

    def test_they_are_read_up_to_the_position(self):
        fit = stream(rows=range(10))
        seek.seek(fit, 2, None)
        assert next(fit.epochs._current_iterator) == 6
        assert fit.epochs._steps_seen == 6
        assert fit.epochs.started == 1

    def test_one_that_ends_too_early_is_an_error(self):
        fit = stream(rows=range(5))
        with pytest.raises(CannotResume, match="fewer batches"):
            seek.seek(fit, 2, None)


class TestSlices:
    def test_they_are_not_read(self):
        class Rows(list):
            slice = None  # the method of grain.MapDataset that kept looks for

            def __getitem__(self, key):
                return Rows(super().__getitem__(key)) if isinstance(key, slice) else 1

        whole = Rows(range(10))
        fit = fit_of(
            "GrainDatasetAdapter", epochs={"steps_per_epoch": 3}, _dataset=whole, num_batches=10
        )
        fit.epochs._get_iterator = lambda: iter(list(fit.adapter._dataset))
        fit.adapter.get_tf_dataset = lambda: list(fit.adapter._dataset)
        assert seek.batches_to_read(fit, 2) == 0
        seek.seek(fit, 2, None)
        assert next(fit.epochs._current_iterator) == 6
        assert fit.epochs._steps_seen == 6
        assert fit.adapter._dataset is whole, "the adapter has its data again"


class TestOtherData:
    def test_it_stays_before_the_first_epoch(self):
        fit = fit_of("ArrayDataAdapter", epochs={"steps_per_epoch": 2}, num_batches=2)
        seek.seek(fit, 0, 7)
        assert fit.epochs._current_iterator is None
        assert fit.epochs._num_batches is None

    def test_the_number_of_batches_is_set_if_keras_does_not_know_it(self):
        unknown, known = fit_of("TFDatasetAdapter"), fit_of("ArrayDataAdapter")
        known.epochs.num_batches = known.epochs._num_batches = 4
        for fit in (unknown, known):
            fit.adapter._dataset = Counting()
            seek.seek(fit, 1, 7)
        assert (unknown.epochs._num_batches, known.epochs._num_batches) == (7, 4)

    def test_with_all_steps_the_iterator_is_made_as_keras_does(self):
        options = {"steps_per_epoch": 2, "rows": "ab"}
        fit = fit_of("TorchDataLoaderAdapter", epochs=options, num_batches=2)
        fit.epochs._steps_seen = 2
        seek.seek(fit, 4, 2)
        assert list(fit.epochs._current_iterator) == ["a", "b"]
        assert fit.epochs._steps_seen == 0

    @pytest.mark.parametrize("starts", [1, 3])
    @pytest.mark.parametrize("num_batches", [None, 4])
    def test_a_tf_dataset_is_started_as_often_as_before(self, num_batches, starts):
        fit = fit_of("TFDatasetAdapter", num_batches=num_batches)
        data = fit.adapter._dataset = Counting()
        fit.epochs._get_iterator = lambda: data
        seek.seek(fit, starts, None)
        twice = ON_TENSORFLOW and num_batches is not None
        assert data.started == (2 * starts if twice else starts)

"""What docs/resume.md lists as restored, and has no other test for."""

import keras
import numpy as np
import pytest

import kept
from tests.training.helpers import Stop, Stopped, fit
from tests.training.resume.test_resume import checkpoint, make

FRAMEWORK = keras.backend.backend()


def numpy_of(variables):
    return [np.array(keras.ops.convert_to_numpy(one)) for one in variables]


def save(model):
    saver = checkpoint()
    saver.set_model(model)
    saver.on_epoch_end(0, {"loss": 1.0})
    saver.close()


def test_keras_s_checkpoint_callback_continues(rewind, data):
    def train(*callbacks):
        theirs = keras.callbacks.ModelCheckpoint(
            "k.weights.h5", "loss", save_best_only=True, save_weights_only=True
        )
        fit(rewind(), data, theirs, *callbacks, epochs=3)
        return theirs

    train()  # the first fit builds things, which draws random numbers
    straight = train()
    with pytest.raises(Stopped):
        train(checkpoint(), Stop(9))
    assert train(checkpoint(resume=True)).best == straight.best != np.inf


def test_each_of_several_optimizers_has_its_slots():
    def build(seed):
        model = make(seed=seed)
        model.optimizer.build(model.trainable_variables)
        model.second = keras.optimizers.Adam()
        model.second.build(model.trainable_variables[:2])
        return model

    saved, resumed = build(1), build(2)
    for number, one in enumerate([*saved.optimizer.variables, *saved.second.variables]):
        one.assign(np.full(one.shape, number + 1, one.dtype))
    save(saved)
    kept.resume(resumed, "m")
    for name in ("optimizer", "second"):
        found, wanted = (numpy_of(getattr(one, name).variables) for one in (resumed, saved))
        assert len(found) > 2
        assert all(map(np.array_equal, found, wanted))


def test_variables_that_no_list_has_are_restored():
    def build():
        rnn = keras.layers.LSTM(2, stateful=True)
        model = keras.Sequential([keras.Input(batch_shape=(2, 3, 1)), rnn])
        model.compile("sgd", "mse")
        return model, rnn.states

    (saved, states), (resumed, found) = build(), build()
    for number, state in enumerate(states, 1):
        state.assign(np.full(state.shape, number, "float32"))
    save(saved)
    kept.resume(resumed, "m")
    assert all(map(np.array_equal, numpy_of(found), numpy_of(states)))


@pytest.mark.parametrize(("workers", "told"), [(1, FRAMEWORK == "tensorflow"), (2, True)])
def test_batches_that_are_read_early_are_a_condition(rewind, data, capsys, workers, told):
    class Rows(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return tuple(part[index::4] for part in data)

    for resume in (False, True):
        callback = checkpoint(save_freq=6, resume=resume)
        rewind().fit(Rows(workers=workers), epochs=2, callbacks=[callback], verbose=0)
    condition = "Rows.__getitem__ draws no random numbers"
    said = capsys.readouterr().out
    assert (condition in said) == told


@pytest.mark.skipif(FRAMEWORK == "torch", reason="there it does")
def test_keras_seeds_torch_only_if_it_uses_torch():
    import torch

    torch.manual_seed(1)
    before = torch.get_rng_state()
    keras.utils.set_random_seed(5)
    assert torch.equal(torch.get_rng_state(), before)

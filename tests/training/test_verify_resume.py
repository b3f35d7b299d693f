"""kept.verify_resume names the first thing that differs; kept.Dataset is exact everywhere."""

import re
import subprocess
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import keras
import numpy as np
import pytest

import kept
from kept.errors import CannotResume, InvalidInput
from tests.training.helpers import Stop
from tests.training.resume.test_resume import BATCHES, checkpoint, make, rows, same


def trainer(own=list, fit=None, epochs=3):
    def train(callbacks):
        model, (x, y) = make(), rows()
        options = {"x": x, "y": y, "batch_size": 8} if fit is None else fit()
        model.fit(**options, epochs=epochs, callbacks=[*own(), *callbacks], verbose=0)

    return train


class Drift(keras.callbacks.Callback):
    """Has a state and does not say so."""

    def __init__(self, change):
        super().__init__()
        self.count, self.change = 0, change

    def on_train_batch_begin(self, batch, logs=None):
        self.count += 1
        self.change(self.model, self.count)


class LateDrift(Drift):
    """Changes after the step, which then had nothing to do with it."""

    def on_train_batch_begin(self, batch, logs=None):
        pass

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_begin(batch, logs)


def slot(model, count):
    moment = model.optimizer.variables[-1]
    moment.assign(keras.ops.convert_to_numpy(moment) + count)


def seed_of_layer(model, count):
    state = model.layers[1].seed_generator.state
    state.assign(keras.ops.convert_to_numpy(state) + count)


def global_seed(model, count):
    np.random.seed(count)


def learning_rate(model, count):
    model.optimizer.learning_rate = 0.01 / count


def weights(model, count):
    kernel = model.layers[0].kernel
    kernel.assign(keras.ops.convert_to_numpy(kernel) + count)


@pytest.mark.parametrize("after", [3, 8])
def test_a_training_that_resumes_exactly(after):
    found = kept.verify_resume(trainer(), after=after, then=4)
    assert found == type(found)(5, None)
    assert found.same
    found.raise_if_different()


@pytest.mark.parametrize(
    ("change", "blamed"), [(learning_rate, "learning rate"), (weights, "weights .*kernel")]
)
def test_what_differs_first_is_named(change, blamed):
    found = kept.verify_resume(trainer(lambda: [Drift(change)]), after=6, then=4)
    assert not found.same
    with pytest.raises(CannotResume, match=f"not the same: {blamed}.* after epoch 2, batch 2"):
        found.raise_if_different()


@pytest.mark.parametrize(
    ("change", "blamed"),
    [
        (slot, "optimizer slot .*velocity"),
        (seed_of_layer, "random state of .*seed"),
        (global_seed, "random state of numpy"),
    ],
)
def test_a_slot_or_a_random_state_is_named_though_the_weights_are_the_same(change, blamed):
    found = kept.verify_resume(trainer(lambda: [LateDrift(change)]), after=6, then=4)
    assert re.fullmatch(f"{blamed}.* after epoch 2, batch 2", found.difference)


def test_another_order_of_batches_is_named():
    class Unordered(keras.utils.PyDataset):
        def __len__(self):
            return BATCHES

        def __getitem__(self, index):
            x, y = rows()
            chosen = np.random.default_rng().permutation(40)[:8]  # cannot be repeated
            return x[chosen], y[chosen]

    found = kept.verify_resume(trainer(fit=lambda: {"x": Unordered()}), after=6, then=4)
    assert "batch order" in found.difference


def test_a_training_that_is_too_short():
    with pytest.raises(InvalidInput, match="only 15 batches"):
        kept.verify_resume(trainer(), after=12, then=4)
    for wrong in ({"after": 0}, {"then": 0}, {"after": "epochs"}, {"after": 1.5}):
        with pytest.raises(InvalidInput, match="1 or more"):
            kept.verify_resume(trainer(), **wrong)


class AfterAnEpoch(Drift):
    """Has a state between epochs, and changes the weights once a second epoch has begun."""

    def on_train_batch_begin(self, batch, logs=None):
        pass

    def on_epoch_begin(self, epoch, logs=None):
        self.count += 1
        if self.count > 1:
            self.change(self.model, self.count)


def test_the_end_of_an_epoch_is_verified_too():
    found = kept.verify_resume(trainer(), after=3, then=4)
    assert found == type(found)(5, None)
    assert found.resumed_from == ("epoch 1, batch 3", "the end of epoch 1")
    found = kept.verify_resume(trainer(lambda: [AfterAnEpoch(weights)]), after=4, then=2)
    message = "weights .*kernel.* after epoch 2, batch 1 .resumed from the end of epoch 1."
    assert re.fullmatch(message, found.difference)


def test_only_the_end_of_an_epoch():
    found = kept.verify_resume(trainer(), after="epoch", then=2)
    assert found == type(found)(2, None)
    assert found.resumed_from == ("the end of epoch 1",)
    with pytest.raises(InvalidInput, match="no batch after its first epoch, only 5 batches"):
        kept.verify_resume(trainer(epochs=1), after="epoch")


cache = {}


def train_with_a_cache(callbacks):
    """Draw noise for the data once in a process; a second run in the process finds it."""
    noise = cache.setdefault("noise", np.random.default_rng().normal(size=(40, 6)))
    model, (x, y) = make(), rows()
    model.fit(x + noise, y, batch_size=8, epochs=3, callbacks=callbacks, verbose=0)


def train_as_it_should(callbacks):
    trainer()(callbacks)


@pytest.mark.integration
@pytest.mark.parametrize("frozen", ["a cache", "nothing"])
def test_a_fresh_process_reveals_what_this_one_hides(frozen):
    train = train_with_a_cache if frozen == "a cache" else train_as_it_should
    assert kept.verify_resume(train, after=3, then=2).same
    found = kept.verify_resume(train, after=3, then=2, fresh_process=True)
    assert found.same is (frozen == "nothing")
    assert found.same or "batch order" in found.difference


@pytest.mark.integration
def test_a_script_needs_a_main_guard(tmp_path):
    text = """
import kept

def train(callbacks):
    raise RuntimeError("trained")

{guard}
    kept.verify_resume(train, fresh_process=True)
"""
    for guard, said in (
        ("if True:", "needs `if __name__"),
        ('if __name__ == "__main__":', "trained"),
    ):
        (tmp_path / "script.py").write_text(text.format(guard=guard))
        done = subprocess.run(
            [sys.executable, "script.py"], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode
        assert said in done.stderr.splitlines()[-1]


def test_another_process_has_to_import_the_function(monkeypatch):
    for train in (lambda callbacks: None, trainer()):
        with pytest.raises(InvalidInput, match=r"of a module\. Received: .*(pickle|local)"):
            kept.verify_resume(train, fresh_process=True)
    main = types.ModuleType("__main__")
    train = main.train = types.FunctionType(train_as_it_should.__code__, {}, "train")
    train.__module__, train.__qualname__ = "__main__", "train"
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(InvalidInput, match=r"Received: train \(it was defined in a notebook"):
        kept.verify_resume(train, fresh_process=True)


def order(dataset):
    return [dataset[n][0][:, 0].tolist() for n in range(len(dataset))]


def test_the_order_of_a_dataset_is_a_function_of_seed_and_epoch():
    x = np.arange(10.0).reshape(10, 1)
    one, two = kept.Dataset(x, batch_size=4), kept.Dataset(x, batch_size=4)
    assert order(one) == order(two)
    first = order(one)
    assert sorted(row for batch in first for row in batch) == list(range(10))
    one.set_epoch(1)
    assert order(one) != first
    np.random.seed(1)
    two.set_epoch(0)
    assert order(two) == first
    assert order(kept.Dataset(x, batch_size=4, seed=1)) != first
    assert order(kept.Dataset(x, batch_size=4, shuffle=False))[0] == [0, 1, 2, 3]


def test_what_a_dataset_is_made_of():
    x = {"a": np.arange(6), "b": np.ones((6, 2))}
    batch = kept.Dataset(x, np.arange(6), np.ones(6), batch_size=4)[1]
    assert batch[0]["b"].shape == (2, 2)
    assert (batch[0]["a"] == batch[1]).all()
    assert len(kept.Dataset(np.ones(3))[0]) == 1
    for bad in [(np.ones(3), np.ones(4)), (np.ones(0),)]:
        with pytest.raises(InvalidInput, match="lengths"):
            kept.Dataset(*bad)


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_passed_over_are_not_read(workers):
    class Counted(kept.Dataset):
        reads: ClassVar = []

        def __getitem__(self, index):
            self.reads.append((self._epoch, index if index >= self._done else None))
            return super().__getitem__(index)

    def train(model, *callbacks):
        data = Counted(*rows(), batch_size=8, workers=workers)
        model.fit(data, shuffle=False, epochs=3, callbacks=[*callbacks], verbose=0)

    train(straight := make(), checkpoint("straight"))
    with pytest.raises(RuntimeError, match="stopped by the test"):
        train(make(), own := checkpoint(save_freq=4), Stop(9))
    own.close()
    Counted.reads = []
    train(model := make(seed=2), checkpoint(save_freq=4, resume=True))
    assert same(model, straight)
    told = Counted.reads[Counted.reads.index((1, None)) :]  # before it, Keras builds the model
    read = [index for epoch, index in told if epoch == 1 and index is not None]
    assert read == [2, 3, 4]  # the last that was done is trained on again, to build everything


def test_the_examples_of_the_documentation_run(capsys):
    page = Path(__file__).parents[2].joinpath("docs/resume.md").read_text()
    first, divided, second = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    x, y = rows()
    names = {"kept": kept, "model": make(), "x": x, "y": y}
    names["early_stopping"] = keras.callbacks.EarlyStopping("loss")
    exec(first.replace("save_freq=500", "save_freq=1").replace("epochs=20", "epochs=1"), names)
    assert names["checkpoint"].versions
    names |= {
        "make_model": make,
        "make_data": lambda: kept.Dataset(x, y, batch_size=2),
        "early_stopping": lambda: keras.callbacks.EarlyStopping("loss"),
    }
    names["jax"] = SimpleNamespace(process_index=lambda: 0, process_count=lambda: 1)
    names["dist"] = SimpleNamespace(get_rank=lambda: 0, get_world_size=lambda: 1)
    exec(divided, names)
    assert isinstance(names["data"], kept.Dataset)
    exec(second, names)
    assert "continuing from" in capsys.readouterr().out


def test_the_best_weights_of_early_stopping_are_stored_once():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4096), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-9), "mse")
    stopping = keras.callbacks.EarlyStopping(
        "loss", min_delta=1e9, patience=9, restore_best_weights=True
    )
    own = checkpoint(save_freq="epoch")
    model.fit(*rows(), epochs=3, callbacks=[stopping, own], verbose=0)
    new = [version.metadata["bytes_new"] for version in own.versions]
    weights = 4 * model.count_params()
    assert new[0] > 2 * weights
    assert new[2] < 1.7 * weights

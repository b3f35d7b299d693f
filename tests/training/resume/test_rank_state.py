"""What each process has of its own in a state is written beside the first rank's, and read back."""

from __future__ import annotations

import json
import shutil

import keras
import numpy as np
import pytest

from kept.errors import Damaged, InvalidCheckpoint
from kept.training.resume import rank_state
from kept.training.resume.rank_state import rank_message, write_rank_states
from kept.training.resume.read_state import read_state
from kept.training.resume.state import JSON_FILE, Recorder, rank_files
from kept.training.resume.write_state import write_state
from kept.training.snapshot.snapshot import Snapshot
from kept.training.snapshot.variables import seeds_of, variables_of
from tests.training.data.fake_fit import fit_of

pytestmark = pytest.mark.any_framework


class Counter(keras.callbacks.Callback):
    """A callback with a state."""

    def __init__(self, state):
        super().__init__()
        self.state = state

    def get_state(self):
        return self.state

    def set_state(self, state):
        self.state = state


class Other(Counter):
    """Another one."""


class Owner(Counter):
    """The callback that saves."""


def model_of_rank():
    layers = [keras.Input((3,)), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    made = keras.Sequential([*layers, keras.layers.Dense(2, kernel_initializer="ones")])
    made.compile("sgd", "mse", metrics=["mae"])
    made.optimizer.build(made.trainable_variables)
    made.evaluate(np.ones((4, 3)), np.ones((4, 2)), verbose=0)  # which builds the metrics
    for seed in seeds_of(made):
        seed.assign(np.ones(2, "uint32"))
    return made


class Process:
    """One process of a run: its model and its callbacks."""

    def __init__(self, *callbacks, own=None):
        self.model = model_of_rank()
        self.owner = Owner(own or {"n": 1})
        self.owner.set_model(self.model)
        self.recorder = Recorder(self.owner, [*callbacks])
        fit = fit_of("ArrayDataAdapter", batch_size=8, epochs={"num_batches": 5})
        self.recorder.begin(fit, 0)
        keras.utils.set_random_seed(3)
        self.recorder.epoch_begin(2)

    def capture(self, logs=None):
        return self.recorder.capture(2, 3, logs or {"loss": 0.5})


@pytest.fixture
def save(tmp_path):
    """Write the states of processes; each is a pair of a Process and what it captured."""

    def write(*given):
        (first, state), *others = given
        snapshot = Snapshot(keras.backend.backend())
        snapshot.take(variables_of(first.model))
        write_state(state, first.model, str(tmp_path), snapshot)
        # As through a channel.
        messages = [json.loads(json.dumps(rank_message(s, p.model))) for p, s in others]
        return write_rank_states(messages, str(tmp_path), first.model, snapshot)

    return write


def test_equal_states_are_there_once(save, tmp_path):
    first, second = Process(), Process()
    assert save((first, first.capture()), (second, second.capture())) == []
    content = json.loads((tmp_path / JSON_FILE).read_text())
    assert (content["processes"], content["ranks"]) == (2, {})
    assert read_state(tmp_path, 1, 2).random["python"][0] == 3


def test_each_rank_has_its_own_part(save, tmp_path):
    first, second, third = (Process(Counter({"n": n}), Other([n])) for n in (0, 1, 0))
    states = [first.capture()]
    np.random.rand()
    states.append(second.capture({"loss": 0.25}))
    states[1].data["own"] = {"generators": [np.arange(16, dtype="uint8")]}
    seeds_of(third.model)[0].assign(np.full(2, 7, "uint32"))
    third.model.layers[0].moving_mean.assign(np.full(3, 2, "float32"))
    states.append(third.capture())
    states[2].random = states[0].random
    paths = save(*zip((first, second, third), states, strict=True))
    assert sorted(path.rpartition("/")[2] for path in paths) == sorted(
        (*rank_files(1), *rank_files(2))
    )
    one, two, three = (read_state(tmp_path, rank, 3) for rank in range(3))
    assert [one.logs, two.logs] == [{"loss": 0.5}, {"loss": 0.25}]
    assert [s.callbacks["Counter"] for s in (one, two, three)] == [{"n": n} for n in (0, 1, 0)]
    assert [s.callbacks["Other"] for s in (one, two, three)] == [[0], [1], [0]]
    assert one.random["numpy"][2] != two.random["numpy"][2]
    np.testing.assert_array_equal(two.data["own"]["generators"][0], np.arange(16))
    assert not one.data["own"]
    np.testing.assert_array_equal(three.seeds[0], [7, 7])
    np.testing.assert_array_equal(two.seeds[0], [1, 1])
    assert [index for index, _ in three.weights] == [2]
    np.testing.assert_array_equal(three.weights[0][1], [2, 2, 2])
    assert one.weights == two.weights == []


def test_another_number_of_processes_gets_the_state_of_the_first_rank(save, tmp_path):
    first, second = (Process(Counter({"n": n})) for n in (0, 1))
    save((first, first.capture()), (second, second.capture()))
    for rank, size in [(0, 1), (1, 4), (3, 4)]:
        found = read_state(tmp_path, rank, size)
        assert found.callbacks["Counter"] == {"n": 0}
        assert (found.processes, found.ranks) == (2, {"1": ["callbacks"]})


def test_a_callback_of_one_rank(save, tmp_path):
    first, second = Process(Counter({"n": 1}), Other(2)), Process(Counter({"n": 1}))
    save((first, first.capture()), (second, second.capture()))
    assert read_state(tmp_path, 0, 2).callbacks.keys() == {"Counter", "Other", "Owner"}
    found = read_state(tmp_path, 1, 2).callbacks
    assert found.keys() == {"Counter", "Owner"}
    text = (tmp_path / rank_files(1)[0]).read_text()
    assert json.loads(text)["callbacks"] == [["Counter"], ["Owner"]]


def test_a_callback_that_saves_on_the_first_rank_only(save, tmp_path):
    class ModelCheckpoint(Counter):
        pass

    first = Process(ModelCheckpoint({"best": 1.0, "since_save": 0}))
    second = Process(ModelCheckpoint({}))
    save((first, first.capture()), (second, second.capture()))
    assert read_state(tmp_path, 1, 2).callbacks["ModelCheckpoint"]["best"] == 1.0


class TestLargeArrays:
    """They do not travel."""

    def test_one_that_the_first_rank_has(self, save, tmp_path):
        large = np.arange(400_000, dtype="float32")
        first, second = (Process(Counter([n, large])) for n in (0, 1))
        message = rank_message(second.capture(), second.model)
        assert len(json.dumps(message)) < 100_000
        paths = save((first, first.capture()), (second, second.capture()))
        assert sum(len(open(path, "rb").read()) for path in paths) < 10_000  # noqa: SIM115
        number, found = read_state(tmp_path, 1, 2).callbacks["Counter"]
        assert number == 1
        np.testing.assert_array_equal(found, large)

    def test_one_that_only_another_rank_has(self, save, tmp_path, capsys):
        first, second = (
            Process(Counter([n, np.full(400_000, n, "float32")]), Other(n)) for n in (0, 1)
        )
        save((first, first.capture()), (second, second.capture()))
        found = read_state(tmp_path, 1, 2).callbacks
        assert (found["Counter"][0], found["Other"]) == (0, 1)
        assert "versions do not hold Counter of rank 1" in capsys.readouterr().out

    def test_the_digest_of_one_is_remembered_while_it_lives(self, monkeypatch):
        stopping = keras.callbacks.EarlyStopping(restore_best_weights=True)
        process, digested = Process(stopping), []
        real = rank_state.npy_digest
        monkeypatch.setattr(
            rank_state, "npy_digest", lambda a: digested.append(a.nbytes) or real(a)
        )

        def large_digests():
            digested.clear()
            rank_message(process.capture(), process.model)
            return sum(size > 1_000_000 for size in digested)

        stopping.best_weights = [np.arange(400_000, dtype="float32"), np.ones(3, "float32")]
        assert [large_digests(), large_digests()] == [1, 0]
        stopping.best_weights = [np.arange(400_000, dtype="float32")]
        assert [large_digests(), large_digests()] == [1, 0]
        stopping.best_weights = None
        assert (large_digests(), rank_state._known) == (0, {})

    def test_many_small_ones(self, save, tmp_path, monkeypatch):
        monkeypatch.setattr(rank_state, "_MOST", 1000)
        first, second = (
            Process(Counter([np.full(100, n + i, "float32") for i in range(9)])) for n in (0, 50)
        )
        save((first, first.capture()), (second, second.capture()))
        assert read_state(tmp_path, 1, 2).callbacks["Counter"][0][0] == 0


def test_other_weights_are_reported(save, capsys, monkeypatch):
    monkeypatch.setattr("kept.messages._said", set())
    first, second = Process(), Process()
    second.model.layers[-1].bias.assign([1.0, 2.0])
    save((first, first.capture()), (second, second.capture()))
    assert "rank 1 trains other weights than rank 0" in capsys.readouterr().out


def test_a_state_that_cannot_be_written_fails_the_save_by_rank(save):
    first, second = Process(), Process(Counter({"what": object()}))
    with pytest.raises(InvalidCheckpoint, match="rank 1: kept cannot write the state of Counter"):
        save((first, first.capture()), (second, second.capture()))


def test_a_rank_without_a_state(tmp_path):
    first = Process()
    write_state(first.capture(), first.model, str(tmp_path), None)
    assert write_rank_states([None], str(tmp_path), first.model, None) == []
    assert read_state(tmp_path, 1, 2).processes == 2


class TestForged:
    """A wrong file is Damaged, also of another rank."""

    @pytest.fixture
    def folder(self, save, tmp_path):
        first, second = (Process(Counter({"n": n})) for n in (0, 1))
        states = [first.capture(), second.capture()]
        states[1].data["own"] = {"generators": [np.zeros(16, "uint8")]}
        save((first, states[0]), (second, states[1]))
        assert read_state(tmp_path, 1, 2).callbacks["Counter"] == {"n": 1}
        return tmp_path

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("processes", 0),
            ("processes", 1),
            ("processes", "2"),
            ("ranks", []),
            ("ranks", {"0": ["callbacks"]}),
            ("ranks", {"2": ["callbacks"]}),
            ("ranks", {"1": []}),
            ("ranks", {"1": ["epoch"]}),
            ("ranks", {"1": ["data", "data"]}),
            ("ranks", {"1": ["seeds"]}),
            ("ranks", {"01": ["data"]}),
        ],
    )
    def test_the_first_rank_s_file(self, folder, name, value):
        path = folder / JSON_FILE
        path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
        with pytest.raises(Damaged):
            read_state(folder, 1, 2)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("format", 0),
            ("callbacks", [["Nothing"]]),
            ("callbacks", [["Counter"], ["Counter"]]),
            ("callbacks", [["Counter", 1, 2]]),
            ("callbacks", [[]]),
            ("data", 1),
            ("data", {"$array": {"name": "first-a999", "dtype": "uint8", "scalar": False}}),
            ("data", {"$array": {"name": "../a0", "dtype": "uint8", "scalar": False}}),
        ],
    )
    def test_the_file_of_another_rank(self, folder, name, value):
        path = folder / rank_files(1)[0]
        path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
        with pytest.raises(Damaged):
            read_state(folder, 1, 2)
        assert read_state(folder, 0, 2) is not None

    @pytest.mark.parametrize("number", [0, 1])
    def test_a_missing_or_cut_file(self, folder, number):
        path = folder / rank_files(1)[number]
        shutil.copy(path, folder / "whole")
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(Damaged):
            read_state(folder, 1, 2)
        path.unlink()
        with pytest.raises(Damaged):
            read_state(folder, 1, 2)

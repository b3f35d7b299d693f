"""One run in two processes, which are threads here: the first rank decides, the other follows."""

from __future__ import annotations

import copy
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

import kept
from kept.errors import GroupError, NoActiveRun, RankMissing, SaveFailed
from kept.training.decide.leading import other_order
from kept.training.destinations.store import StoreDestination
from kept.training.group import announce
from kept.training.save.saver import Saver
from tests.training.group.threads import groups

DATA = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")


def make_model(units=3):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, name="d")])
    model.compile("sgd", "mse")
    return model


def fit(group, store, options, batches=3, epochs=2, units=3, callbacks=()):
    """Train as one rank; return its callback and the error that ended the fit."""
    checkpoint = kept.ModelCheckpoint(
        f"{store}-{group.rank}.keras",
        **{"monitor": "loss", "store": store, "name": "m", "group": group, **options},
    )
    model = make_model(units)
    y = np.zeros((len(DATA), units), "float32")
    size = len(DATA) // batches
    try:
        model.fit(
            *(DATA[: batches * size], y[: batches * size]),
            batch_size=size,
            epochs=epochs,
            shuffle=False,
            verbose=0,
            callbacks=[checkpoint, *callbacks],
        )
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return checkpoint, error
    return checkpoint, None


@pytest.fixture
def run(tmp_path):
    """Run a fit on each rank, with what differs between them; return what each returns."""

    def run(*each, seconds=20.0, **options):
        found = groups(len(each), seconds)
        with ThreadPoolExecutor(len(each)) as pool:
            jobs = [
                pool.submit(
                    fit,
                    group,
                    str(tmp_path / "store"),
                    {**options, **own.pop("options", {})},
                    **own,
                )
                for group, own in zip(found, each, strict=True)
            ]
            return [job.result() for job in jobs]

    return run


def test_one_process_commits_and_all_know(run, tmp_path):
    (first, error), (other, problem) = run({}, {}, save_freq=2)
    assert (error, problem) == (None, None)
    store = kept.open_store(tmp_path / "store")
    versions = store.versions("m")
    assert [version.metadata["batch"] for version in versions] == [1, 0, 2]
    assert [version.reference for version in first.versions] == [v.reference for v in versions]
    assert other.versions == []
    assert other.name == "m"
    assert (other.wait(), other.skipped) == (True, 0)
    assert not list(tmp_path.glob("*-1.keras"))
    files = {file.path for file in versions[-1].files}
    assert "kept-state.json" in files


class Fails(keras.callbacks.Callback):
    """Makes the store unusable for the saves after an epoch."""

    def __init__(self, store):
        super().__init__()
        self.store = store

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0 and self.store is not None:
            self.store.rename(self.store.with_name("away"))
            self.store.write_text("no folder")


def test_best_is_the_minimum_of_the_first_rank(run, tmp_path):
    run({"epochs": 4}, {"epochs": 4})
    versions = kept.open_store(tmp_path / "store").versions("m")
    best = [version for version in versions if "best" in version.aliases]
    assert [v.metadata["value"] for v in best] == [min(v.metadata["value"] for v in versions)]
    assert len(versions) == 4


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({"units": 2}, "rank 1 .* has another model: weights"),
        ({"options": {"monitor": "mae"}}, "rank 1 .* has monitor 'mae'; rank 0 has 'loss'"),
        ({"options": {"save_freq": 7}}, "rank 1 .* has save_freq 7; rank 0 has 'epoch'"),
        ({"options": {"store": "elsewhere"}}, "rank 1 .* has store 'elsewhere'; rank 0 has"),
    ],
)
def test_what_differs_is_refused_on_all_ranks(run, own, says):
    for _, error in run({}, own):
        assert isinstance(error, GroupError)
        assert re.search(says, str(error))


def test_a_rank_without_the_callback_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("kept.training.group.facts._NOTICE_AFTER", 0.01)
    _, error = fit(groups(2, seconds=0.1)[0], str(tmp_path / "store"), {})
    assert isinstance(error, RankMissing)
    assert "rank 1 of 2 did not answer" in str(error)
    assert "pass group=False" in str(error)
    assert "waiting for the callback of every process" in capsys.readouterr().out


def test_ranks_with_different_numbers_of_batches_end_with_an_error(run):
    _, (_, other) = run({"batches": 3}, {"batches": 2}, seconds=1.0)
    assert isinstance(other, GroupError)
    assert "Give each rank as many batches" in str(other) or isinstance(other, RankMissing)


def test_an_error_of_the_first_rank_ends_all(run, tmp_path):
    store = tmp_path / "store"
    each = [{"epochs": 4, "callbacks": [Fails(path)]} for path in (store, None)]
    (_, first), (_, other) = run(*each)
    assert isinstance(first, SaveFailed)
    assert isinstance(other, SaveFailed)
    assert "rank 0 ended the fit: SaveFailed" in str(other)


def test_with_on_error_warn_all_continue(run, tmp_path):
    store = tmp_path / "store"
    each = [{"epochs": 4, "callbacks": [Fails(path)]} for path in (store, None)]
    with pytest.warns(UserWarning, match="training continues without it"):
        results = run(*each, on_error="warn")
    assert [error for _, error in results] == [None, None]


class WithoutState(keras.callbacks.Callback):
    """Cannot give its state."""

    def get_state(self):
        raise OSError("no state today")

    def set_state(self, state):
        pass


def test_a_rank_that_cannot_give_its_state_is_named(run):
    own = WithoutState()
    (_, first), (_, other) = run(
        {"options": {"state_of": []}},
        {"options": {"state_of": [own]}, "callbacks": [own]},
    )
    assert isinstance(first, SaveFailed)
    assert "rank 1: OSError: no state today" in str(first)
    assert isinstance(other, SaveFailed)


def test_messages_are_deleted_now_and_then(run, monkeypatch):
    monkeypatch.setattr(announce, "ROUND", 3)
    monkeypatch.setattr(announce, "LEASE", 0.0)  # all hooks are open
    (first, error), (_, problem) = run({"batches": 6}, {"batches": 6})
    assert (error, problem) == (None, None)
    left = first._controller._lead._channel
    assert left._number - len(left._own) > 8


def test_a_copy_of_a_callback_keeps_its_group(tmp_path):
    group = groups(2)[1]
    checkpoint = kept.ModelCheckpoint("m.keras", store=tmp_path / "store", group=group)
    assert copy.deepcopy(checkpoint)._setup[2].group is group


def test_only_the_first_rank_needs_a_run_of_wandb():
    first, other = groups(2)
    with pytest.raises(NoActiveRun):
        kept.WandbModelCheckpoint("m.keras", group=first)
    checkpoint = kept.WandbModelCheckpoint("m.keras", group=other)
    assert checkpoint.logged == []
    assert checkpoint.versions == []


@pytest.mark.parametrize("rank", [0, 1])
def test_sigterm_of_one_rank_ends_all_at_one_step(tmp_path, rank):
    found = groups(2)
    store = str(tmp_path / "store")

    def work(group):
        seen = []

        class Note(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                seen.append(batch)
                if group.rank == rank and len(seen) == 5:
                    (one,) = [c for c in callbacks if isinstance(c, kept.ModelCheckpoint)]
                    one._member._preemption.note()

        callbacks = [Note()]
        checkpoint = kept.ModelCheckpoint(
            f"{store}.keras", monitor="loss", store=store, name="m", group=group
        )
        callbacks.append(checkpoint)
        try:
            make_model().fit(
                *(DATA, DATA[:, :3]), batch_size=1, epochs=3, shuffle=False, verbose=0,
                callbacks=callbacks,
            )  # fmt: skip
        except SystemExit as error:
            return error.code, len(seen)
        return None, len(seen)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(work, found))
    assert results[0] == results[1]
    code, batches = results[0]
    assert code == 143
    assert 5 <= batches < 72
    (version,) = kept.open_store(store).versions("m")[-1:]
    assert version.metadata["step"] == batches


def loop(group, store, epochs, batches, *, epoch_end=True, name="m", **options):
    """Train in a loop that calls some of the hooks; return the callback."""
    checkpoint = kept.ModelCheckpoint(
        f"{store}.keras", monitor="loss", store=store, name=name, group=group, **options
    )
    model = make_model()
    model(DATA[:1])
    checkpoint.set_model(model)
    for epoch in range(epochs):
        checkpoint.on_epoch_begin(epoch)
        for batch in range(batches):
            checkpoint.on_train_batch_end(batch, {"loss": 1.0})
        if epoch_end:
            checkpoint.on_epoch_end(epoch, {"loss": 1.0})
    checkpoint.wait()
    return checkpoint


def on_both(call):
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(call, groups(2)))


def test_a_loop_without_on_train_begin(tmp_path):
    store = str(tmp_path / "store")
    _, other = on_both(lambda group: loop(group, store, 3, 2))
    assert len(kept.open_store(store).versions("m")) == 3
    assert other.versions == []


def test_a_loop_without_the_ends_of_epochs(tmp_path):
    store = str(tmp_path / "store")
    on_both(lambda group: loop(group, store, 9, 10, epoch_end=False, save_freq=15))
    assert len(kept.open_store(store).versions("m")) == 6


def test_a_resumed_callback_calls_hooks_of_the_next_one(tmp_path):
    store = str(tmp_path / "store")

    def work(group, epochs, *, resume):
        two = [
            kept.ModelCheckpoint(
                f"{store}.keras", monitor="loss", store=store, name=name, group=group, resume=on
            )
            for name, on in (("a", resume), ("b", False))
        ]
        model = make_model()
        model.fit(DATA, DATA[:, :3], batch_size=8, epochs=epochs, verbose=0, callbacks=two)
        return [len(one.versions) for one in two]

    assert on_both(lambda group: work(group, 2, resume=True))[1] == [0, 0]
    first, other = on_both(lambda group: work(group, 4, resume=True))
    assert other == [0, 0]
    assert first[0] == 2


@pytest.mark.any_framework
def test_a_first_rank_that_is_at_work_is_not_missing(run, monkeypatch):
    took = threading.Event()
    submit = StoreDestination.submit

    def slow(*args):
        took.wait(6.0)  # more than the time limit
        took.set()
        return submit(*args)

    monkeypatch.setattr(StoreDestination, "submit", slow)
    results = run({"epochs": 5}, {"epochs": 5}, seconds=4.0)
    assert [error for _, error in results] == [None, None]
    assert len(results[0][0].versions) == 5


def test_a_save_that_is_skipped_is_one_of_no_rank(run, tmp_path, monkeypatch):
    """Also if a snapshot becomes free just after the decision."""
    monkeypatch.setattr(Saver, "has_room", property(lambda self: False))
    (first, error), (_, problem) = run({}, {}, on_busy="skip")
    assert (error, problem) == (None, None)
    assert (first.versions, first.skipped) == ([], 2)


def test_a_save_that_failed_is_not_due_in_the_next_fit(tmp_path, monkeypatch):
    checkpoint = kept.ModelCheckpoint(
        tmp_path / "m.keras", monitor="loss", store=tmp_path / "store", name="m", save_freq=2
    )
    model = make_model()  # the callback holds none
    checkpoint.set_model(model)
    controller, seen = checkpoint._controller, []

    def fails(moment):
        seen.append(moment.batch)
        raise SaveFailed("no")

    monkeypatch.setattr(controller, "_save_by_metric", fails)
    for _ in range(2):
        checkpoint.on_train_begin()
        checkpoint.on_epoch_begin(0)
        checkpoint.on_train_batch_end(0, {"loss": 1.0})
        with pytest.raises(SaveFailed):
            checkpoint.on_train_batch_end(1, {"loss": 1.0})
    assert seen == [1, 1]


def test_ranks_in_another_order_than_those_of_jax_are_refused(monkeypatch):
    first, other = groups(2)
    monkeypatch.setattr("jax.process_count", lambda: 2)
    assert other_order(first) is None
    assert "it is process 0 of 2 of jax.distributed" in other_order(other)


class _Diverges(keras.callbacks.Callback):
    """Puts NaN into the weights in the second epoch, and counts the batches."""

    def __init__(self):
        super().__init__()
        self.batches = 0

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            kernel = self.model.layers[0].kernel
            kernel.assign(np.full(kernel.shape, np.nan, "float32"))

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1


def test_an_unhealthy_version_ends_the_fit_on_all_ranks_at_one_batch(run):
    counters = [_Diverges(), _Diverges()]
    each = [{"callbacks": [counter], "epochs": 400} for counter in counters]
    (first, error), (_, problem) = run(*each, on_health="stop")
    assert (error, problem) == (None, None)
    assert counters[0].batches == counters[1].batches < 1200
    assert first.versions[1].metadata["health"] == "unhealthy"

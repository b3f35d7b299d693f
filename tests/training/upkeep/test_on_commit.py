"""on_commit=: a function is called once for each version, when the version is in the store."""

from __future__ import annotations

import copy
import errno
import io
import pickle
import sys
import threading

import pytest

import kept
from kept.errors import InvalidCheckpoint
from kept.training.upkeep import on_commit
from tests.training.helpers import PATIENCE, keras, losses, play

pytestmark = pytest.mark.any_framework

calls = []


def note(version):
    """For callbacks that are pickled."""
    calls.append(version.reference)


class Call:
    """A function that notes its versions, and can be held."""

    def __init__(self, result=None):
        self.seen, self.threads, self.result = [], set(), result
        self.free = threading.Event()
        self.free.set()
        self.begun = threading.Event()

    def __call__(self, version):
        self.begun.set()
        assert self.free.wait(PATIENCE)
        self.seen.append(version)
        self.threads.add(threading.current_thread())
        return self.result(version) if self.result else None


def callback(store, call, **options):
    given = {"monitor": "val_loss", "name": "m", "store": store, "on_commit": call} | options
    return kept.ModelCheckpoint("files/{epoch}.keras", **given)


def test_each_version_gets_one_call_in_order_on_another_thread(model, store):
    call = Call()
    play([callback(store, call)], losses(0.5, 0.4, 0.3), model=model)
    assert [version.reference for version in call.seen] == ["m:v0", "m:v1", "m:v2"]
    assert threading.main_thread() not in call.threads
    assert len(call.threads) <= 3


def test_the_version_can_be_read_in_the_call(model, store, tmp_path):
    def read(version):
        other = kept.open_store(store.location).version(version.reference)
        assert other.digest == version.digest
        loaded = version.load_model()
        assert isinstance(loaded, keras.Model)
        return {"weights": len(loaded.weights)}

    play([callback(store, Call(read))], losses(0.5), model=model)
    assert store.version("m:v0").record.changes.metrics == {"weights": len(model.weights)}
    assert store.version("m:v0").record.changes.evaluated("on_commit")


def test_training_does_not_wait_for_a_call(model, store):
    call = Call()
    call.free.clear()
    checkpoint = callback(store, call)
    hooks = keras.callbacks.CallbackList([checkpoint], model=model, epochs=3, steps=1)
    hooks.on_train_begin()
    for epoch in range(3):  # this hangs if a hook waits for the call
        hooks.on_epoch_begin(epoch)
        hooks.on_train_batch_end(0, {"val_loss": 0.5})
        hooks.on_epoch_end(epoch, {"val_loss": 0.5})
        model.weights[-1].assign(model.weights[-1] + 1)
    assert checkpoint.wait(PATIENCE)
    assert call.begun.wait(PATIENCE)
    assert (call.seen, len(store.versions("m"))) == ([], 3)
    call.free.set()
    hooks.on_train_end()
    assert len(call.seen) == 3


def test_a_failing_call_is_one_line_and_harms_nothing(model, store, capsys):
    def fail(version):
        raise ValueError("no data\nfor the evaluation")

    play([callback(store, Call(fail))], losses(0.5, 0.4), model=model)
    assert len(store.versions("m")) == 2
    [line] = [line for line in capsys.readouterr().out.splitlines() if "on_commit" in line]
    assert "m:v0 failed with ValueError: no data for the evaluation" in line
    assert "test_on_commit.py:" in line


class Unreadable(Exception):
    """Neither the text of this error nor that of its value can be read."""

    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class Odd(dict):
    """Metrics that cannot be read."""

    def items(self):
        raise SystemExit(3)


class Unwritable(io.StringIO):
    """A stdout on a full disk."""

    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


def fail_unreadably(version):
    raise Unreadable


def fail_in_german(version):
    raise ValueError("Prüfung fehlgeschlagen")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (fail_unreadably, "failed with Unreadable: its text cannot be read (test_on_commit.py:"),
        (lambda version: Unreadable(), "of type Unreadable; return a dict"),
        (lambda version: Odd(a=1), "failed with SystemExit: 3"),
        (fail_in_german, r"Pr\xfcfung fehlgeschlagen"),
    ],
)
def test_no_failure_ends_the_calls(model, store, monkeypatch, function, said):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(on_commit, "FINISH_SECONDS", 0.1)  # a wait that nothing ends
    call = Call(function)
    play([callback(store, call, keep=kept.Keep(last=1))], losses(0.5, 0.4, 0.3), model=model)
    assert len(call.seen) == 3
    assert [version.index for version in store.versions("m")] == [2]
    out.seek(0)
    assert said in out.read()


def test_an_unwritable_stdout_ends_no_call(model, store, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Unwritable())
    monkeypatch.setattr(on_commit, "FINISH_SECONDS", 0.1)
    call = Call(fail_in_german)
    play([callback(store, call)], losses(0.5, 0.4), model=model)
    assert len(call.seen) == 2


def test_a_call_that_exits_ends_nothing(model, store, capsys):
    def leave(version):
        raise SystemExit(3)

    call = Call(leave)
    play([callback(store, call)], losses(0.5, 0.4), model=model)
    assert len(call.seen) == 2
    assert "SystemExit: 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("result", "said"),
    [(0.93, "returned 0.93 of type float"), ({"acc": "good"}, "acc"), ({1: 0.5}, "1")],
)
def test_a_result_that_is_no_metrics(model, store, capsys, result, said):
    play([callback(store, lambda version: result)], losses(0.5, 0.4), model=model)
    lines = [line for line in capsys.readouterr().out.splitlines() if "on_commit" in line]
    assert len(lines) == 1
    assert said in lines[0]
    assert store.version("m:v0").record.changes.metrics == {}


def test_the_end_of_a_fit_waits_only_a_while(model, store, capsys, monkeypatch):
    monkeypatch.setattr(on_commit, "FINISH_SECONDS", 0.02)
    monkeypatch.setattr(on_commit, "_NOTICE_AFTER", 0.01)
    call = Call()
    call.free.clear()
    checkpoint = callback(store, call)
    play([checkpoint], losses(0.5, 0.4, 0.3), model=model)
    checkpoint.close()
    shown = capsys.readouterr().out
    assert shown.count("waiting for on_commit of m:v0") == 1
    assert shown.count("on_commit of m:v0 and 2 more has not ended") == 1
    call.free.set()
    assert checkpoint._controller.parts.upkeep._calls.wait(PATIENCE)
    assert len(call.seen) == 3


def test_two_fits_and_a_repeated_content(model, store):
    call = Call()
    checkpoint = callback(store, call)
    play([checkpoint], losses(0.5), model=model)
    play([checkpoint], losses(0.4), model=model, start=1)
    assert [version.index for version in call.seen] == [0, 1]
    repeated = kept.ModelCheckpoint(
        "w.weights.h5", "val_loss", name="w", store=store, on_commit=call, save_weights_only=True
    )
    hooks = keras.callbacks.CallbackList([repeated], model=model, epochs=2, steps=1)
    hooks.on_train_begin()
    for _ in range(2):
        repeated.on_epoch_end(0, {"val_loss": 0.5})
        repeated.wait()
    hooks.on_train_end()
    versions = [version.reference for version in call.seen if version.name == "w"]
    assert versions == [version.reference for version in store.versions("w")]


def test_metrics_reach_a_mirror_at_the_end_of_the_fit(model, store, tmp_path):
    mirror = kept.open_store(tmp_path / "mirror")
    call = Call(lambda version: {"test_acc": 0.5 + version.index})
    play([callback(store, call, mirror=mirror.location)], losses(0.5, 0.4), model=model)
    for location in (store.location, mirror.location):
        versions = kept.open_store(location).versions("m")
        found = [version.record.changes.metrics for version in versions]
        assert found == [{"test_acc": 0.5}, {"test_acc": 1.5}], location


def test_copies_share_the_function(model, store):
    call = Call()
    copied = copy.deepcopy(callback(store, call))
    play([copied], losses(0.5), model=model)
    assert len(call.seen) == 1
    pickled = pickle.loads(pickle.dumps(callback(store, note, name="p")))
    play([pickled], losses(0.5), model=model)
    assert calls == ["p:v0"]


async def later(version):
    pass


@pytest.mark.parametrize(
    "wrong", ["metrics", 3, later, lambda: None, lambda version, more: None], ids=repr
)
def test_what_cannot_be_called_is_refused(store, wrong):
    with pytest.raises(InvalidCheckpoint, match="on_commit"):
        callback(store, wrong)


def test_a_process_that_ends_starts_no_call(model, store, capsys, monkeypatch):
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "kept-on-commit":
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    call = Call()
    play([callback(store, call)], losses(0.5), model=model)
    assert (call.seen, len(store.versions("m"))) == ([], 1)
    assert "the process ends, so m:v0 gets no call of on_commit" in capsys.readouterr().out


def test_a_forked_child_begins_without_the_calls_of_its_parent(store):
    calls = on_commit.CommitCalls(callback(store, Call())._setup[2], None)
    calls._open.append(None)
    calls._thread = threading.current_thread()
    on_commit._reset_all()
    assert calls.wait(0)


def test_in_object_storage_the_version_has_arrived(model, s3):
    def look(version):
        other = kept.open_store(s3).version(version.reference)  # as another process finds it
        return {"size": other.size}

    call = Call(look)
    play([callback(s3, call)], losses(0.5, 0.4), model=model)
    versions = kept.open_store(s3).versions("m")
    assert call.seen == versions
    assert [v.record.changes.metrics for v in versions] == [{"size": v.size} for v in versions]


def test_metrics_of_a_late_arrival_reach_the_mirror(model, s3, tmp_path):
    mirror = kept.open_store(tmp_path / "mirror")
    call = Call(lambda version: {"acc": 0.5})
    play([callback(s3, call, mirror=mirror.location)], losses(0.5), model=model)
    assert kept.open_store(mirror.location).version("m:v0").record.changes.metrics == {"acc": 0.5}


def test_with_wandb_it_needs_a_store(wandb_server, store):
    import wandb

    with wandb.init(project="p"), pytest.raises(InvalidCheckpoint, match="on_commit needs a store"):
        kept.WandbModelCheckpoint("m.keras", on_commit=note)


def test_no_version_is_deleted_before_its_call(model, store):
    counts = []
    call = Call(lambda version: counts.append(len(store.versions("m"))))
    call.free.clear()
    checkpoint = callback(store, call, keep=kept.Keep(last=1))
    hooks = keras.callbacks.CallbackList([checkpoint], model=model, epochs=4, steps=1)
    hooks.on_train_begin()
    for epoch in range(4):
        hooks.on_epoch_end(epoch, {"val_loss": 0.5 - epoch / 10})
        model.weights[-1].assign(model.weights[-1] + 1)
    assert checkpoint.wait(PATIENCE)
    call.free.set()
    hooks.on_train_end()
    assert counts == [4, 4, 4, 4]
    assert [version.index for version in store.versions("m")] == [3]


def test_keep_works_during_the_fit(model, store):
    call = Call(lambda version: {"acc": 1.0 / (1 + version.index)})
    checkpoint = callback(store, call, keep=kept.Keep(best=1, monitor="acc", mode="max"))
    seen = []
    wait = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: (
            checkpoint.wait(PATIENCE),
            checkpoint._controller.parts.upkeep._calls.wait(PATIENCE),
            seen.append([version.index for version in store.versions("m")]),
        )
    )
    play([checkpoint, wait], losses(0.5, 0.5, 0.5), model=model)
    assert seen == [[0], [0, 1], [0, 2]]

"""SIGTERM, Ctrl-C and saves by the clock."""

import os
import signal
import threading
from datetime import timedelta
from pathlib import Path

import keras
import pytest

import kept
from kept.errors import InvalidCheckpoint
from kept.training.decide import preemption
from kept.training.options import Options
from tests.training.resume.test_resume import checkpoint, fit, make, rows
from tests.training.save.forks import Forks

SCRIPT = Path(__file__).with_name("resume_preempted.py")


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Runs the script in a folder."""
    forks = Forks(SCRIPT, tmp_path_factory.mktemp("forks"))
    yield forks.run
    forks.end()


def test_sigterm_saves_once_more_and_the_run_goes_on_exactly(train, tmp_path):
    straight = train(tmp_path / "straight", "none")
    asked = train(tmp_path / "run", "term")
    assert asked.returncode == 128 + signal.SIGTERM == 143
    assert "kept: SIGTERM, saving at the end of this batch" in asked.stderr
    assert "kept: saved as m:v1, leaving" in asked.stdout
    newest = kept.open_store(tmp_path / "run/store").version("m")
    assert newest.aliases == ("latest", "epoch_1_batch_2")
    assert newest.metadata["step"] == 8
    best = kept.open_store(tmp_path / "run/store").version("m:best")
    assert best.index == 0, "a save for resuming is not the best"
    assert len(list((tmp_path / "run").glob("*.h5"))) == 1, "nor is it published"
    resumed = train(tmp_path / "run", "none")
    assert "continuing from m:v1 in epoch 2, after batch 3" in resumed.stdout
    assert resumed.stdout.splitlines()[-1] == straight.stdout.splitlines()[-1]


@pytest.mark.any_framework
def test_ctrl_c_leaves_the_last_version_durable(train, tmp_path):
    done = train(tmp_path / "run", "int")
    assert done.returncode != 0
    assert "KeyboardInterrupt" in done.stderr
    version = kept.open_store(tmp_path / "run/store").version("m")
    assert version.metadata["epoch"] == 0
    version.verify()


@pytest.mark.any_framework
def test_sigterm_after_a_fit_that_broke_off_ends_the_process(train, tmp_path):
    assert train(tmp_path / "run", "late").returncode == -signal.SIGTERM


@pytest.mark.any_framework
def test_sigterm_twice_ends_the_process_at_once_and_leaves_what_was_saved(train, tmp_path):
    assert train(tmp_path / "run", "twice").returncode == -signal.SIGTERM
    (version,) = kept.open_store(tmp_path / "run/store").versions("m")
    version.verify()


class SignalIn(keras.callbacks.Callback):
    """Sends SIGTERM in a hook, the first time it is called."""

    def __init__(self, hook):
        super().__init__()
        self.sent = False
        setattr(self, hook, self.send)

    def send(self, *args, **options):
        if not self.sent:
            self.sent = True
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.any_framework
@pytest.mark.parametrize(
    ("hook", "epoch", "batch", "step"),
    [("on_train_begin", 0, 0, 1), ("on_epoch_begin", 0, 0, 1), ("on_test_batch_begin", 0, None, 5)],
)
def test_sigterm_outside_the_batches(hook, epoch, batch, step):
    own = checkpoint()
    with pytest.raises(SystemExit) as left:
        fit(make(), own, SignalIn(hook), validation_data=rows())
    assert left.value.code == 143
    (version,) = own.versions
    told = version.metadata
    assert (told["epoch"], told["batch"], told["step"]) == (epoch, batch, step)


class SignalAt(keras.callbacks.Callback):
    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self.batch:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.any_framework
def test_a_second_fit_is_saved_where_the_first_was_saved_last():
    own, model = checkpoint(save_freq=8), make()
    fit(model, own, epochs=2)
    assert [v.metadata["batch"] for v in own.versions] == [2]
    with pytest.raises(SystemExit):
        fit(model, own, SignalAt(2), epochs=2, initial_epoch=1)
    assert [v.metadata["step"] for v in own.versions] == [8, 13]


@pytest.mark.any_framework
def test_sigterm_does_not_skip_the_last_save_while_others_are_written(gate):
    class Open(keras.callbacks.Callback):
        """Opens the gate once SIGTERM has come, so that all snapshots are busy until then."""

        def on_train_batch_begin(self, batch, logs=None):
            if batch == 3:
                threading.Timer(0.5, gate.open).start()

    own = checkpoint(save_freq=1, on_busy="skip")
    with pytest.raises(SystemExit):
        fit(make(), own, SignalAt(3), Open())
    assert own.skipped >= 1
    assert own.versions[-1].metadata["step"] == 4


@pytest.mark.any_framework
def test_sigterm_after_a_save_that_failed_saves_and_leaves_all_the_same(monkeypatch):
    real, failures = kept.Store.log_artifact, []

    def fails_once(*args, **options):
        if not failures:
            failures.append(1)
            raise OSError("the disk is away for a moment")
        return real(*args, **options)

    monkeypatch.setattr(kept.Store, "log_artifact", fails_once)
    own = checkpoint(save_freq=3, on_error="warn")
    with pytest.raises(SystemExit) as left, pytest.warns(UserWarning, match="continues without it"):
        fit(make(), own, SignalAt(2))
    assert left.value.code == 143
    assert [version.metadata["step"] for version in own.versions] == [3]


@pytest.mark.any_framework
def test_another_handler_is_left_alone():
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, handler := (lambda *_: None))
    try:
        fit(make(), checkpoint(), epochs=1)
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.any_framework
def test_a_fit_after_one_that_broke_off_listens_too():
    broken, listening = preemption.Preemption(5.0), preemption.Preemption(5.0)
    broken.listen()
    listening.listen()
    assert signal.getsignal(signal.SIGTERM) == listening._note
    listening.stop()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.any_framework
def test_the_handler_is_there_while_fit_runs_and_only_then():
    seen = []
    listening = preemption.Preemption(5.0)
    listening.listen()
    seen.append(signal.getsignal(signal.SIGTERM))
    listening.stop()
    assert seen[0] == listening._note
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    preemption.Preemption(None).listen()
    thread = threading.Thread(target=preemption.Preemption(5.0).listen)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.any_framework
def test_saves_by_the_clock(monkeypatch):
    monkeypatch.setattr("kept.training.decide.schedule.time.monotonic", iter(range(1000)).__next__)
    own = checkpoint(save_every=3)
    fit(make(), own, epochs=2)
    aliases = [v.aliases[-1] for v in kept.open_store().versions("m")]
    assert [a for a in aliases if "batch" in a], aliases
    assert {"epoch_0", "best"} & set(aliases)
    for version in kept.open_store().versions("m"):
        assert version.metadata["batch"] is None or version.metadata["value"] is None


@pytest.mark.any_framework
@pytest.mark.parametrize(
    ("every", "seconds"),
    [
        ("30s", 30),
        ("10min", 600),
        ("1.5h", 5400),
        (" 2 m ", 120),
        ("1d", 86400),
        ("2 w", 1_209_600),
        (7, 7),
        (1e-9, 1e-9),
        (1e12, 1e12),
        (float("inf"), float("inf")),
        (timedelta(hours=1), 3600),
    ],
)
def test_times(every, seconds):
    assert Options(save_every=every).seconds_between_saves == seconds


@pytest.mark.any_framework
@pytest.mark.parametrize("every", ["", "10", "ten", "0s", 0, -1, True, "5 days", [], float("nan")])
def test_what_is_no_time(every):
    with pytest.raises(InvalidCheckpoint, match="Received: save_every"):
        checkpoint(save_every=every)

"""The files of the trainings that run now, and their reader."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from kept.sync import live
from kept.sync.live import LiveFile, live_folder, live_runs

BEGIN = """
import sys, time
from kept.sync.live import LiveFile
run = LiveFile()
run.begin("/s", "m", epochs=3, framework="jax")
print("begun", flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))


@pytest.fixture
def run():
    file = LiveFile()
    file.begin("/s", "m", epochs=5, framework="jax")
    yield file
    file.end()


def path_of_the_file():
    (name,) = (name for name in os.listdir(live_folder()) if name.endswith(".json"))
    return os.path.join(live_folder(), name)


def test_a_run_is_live_from_its_begin_to_its_end(run):
    (found,) = live_runs("/s")
    assert (found.artifact, found.epoch, found.epochs, found.step) == ("m", 1, 5, None)
    assert (found.pid, found.framework, found.metrics) == (os.getpid(), "jax", {})
    assert found.started == found.updated
    run.end()
    assert live_runs("/s") == []
    assert os.listdir(live_folder()) == []


def test_an_update_is_seen(run):
    run.update(is_forced=True, epoch=2, step=40, metrics={"loss": 0.5, "bad": float("nan")})
    (found,) = live_runs("/s")
    assert (found.epoch, found.step, found.metrics) == (2, 40, {"loss": 0.5})


def test_updates_are_written_once_a_second(run, monkeypatch):
    clock = iter([10.0, 10.5, 11.5])
    monkeypatch.setattr(live.time, "monotonic", lambda: next(clock))
    run.update(step=1)
    run.update(step=2)
    assert live_runs("/s")[0].step == 1
    run.update(step=3)
    assert live_runs("/s")[0].step == 3


def test_runs_of_other_stores_are_left_out(run):
    assert live_runs("/other") == []


def test_two_fits_of_one_process_are_two_runs(run):
    second = LiveFile()
    second.begin("/s", "a", epochs=None, framework="torch")
    assert [found.artifact for found in live_runs("/s")] == ["a", "m"]
    second.end()
    assert [found.artifact for found in live_runs("/s")] == ["m"]


def test_a_new_fit_replaces_one_that_was_interrupted(run):
    run.begin("/s", "n", epochs=None, framework="jax")
    assert [found.artifact for found in live_runs("/s")] == ["n"]


def test_a_file_that_nothing_refers_to_is_removed():
    file = LiveFile()
    file.begin("/s", "m", epochs=5, framework="jax")
    del file
    assert os.listdir(live_folder()) == []


def test_a_killed_process_is_not_live_and_its_file_is_removed():
    process = subprocess.Popen([sys.executable, "-c", BEGIN], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"begun\n"
    assert [found.pid for found in live_runs("/s")] == [process.pid]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert live_runs("/s") == []
    assert os.listdir(live_folder()) == []


def test_a_forked_child_does_not_keep_a_run_alive(run):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        run.update(is_forced=True, epoch=9)  # the child is no run
        run.end()
        os.read(reader, 1)
        os._exit(0)
    run.update(is_forced=True, epoch=2)
    assert live_runs("/s")[0].epoch == 2
    run.end()
    assert live_runs("/s") == []
    os.write(writer, b"x")
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("content", [
    b"", b"{", b"[1, 2]", b"\xff\xfe", b"[" * 5000, b'{"store": "/s"}',
    b'{"store": "/s", "artifact": 3, "epoch": "x"}', b"x" * 10**6,
])  # fmt: skip
def test_a_file_of_another_form_is_left_out(run, content):
    with open(path_of_the_file(), "wb") as file:
        file.write(content)
    assert live_runs("/s") == []


def test_hostile_values_are_left_out(run):
    path = path_of_the_file()
    good = json.loads(pathlib.Path(path).read_text())
    for wrong in [
        {"artifact": "x" * 1000}, {"epoch": True}, {"pid": 1.5}, {"epochs": "9"}, {"started": None}
    ]:  # fmt: skip
        with open(path, "w") as file:
            file.write(json.dumps(good | wrong))
        assert live_runs("/s") == []
    metrics = {"a": 1e999, "b": "x", "c" * 100: 1.0, "d": 10**400, "e": True, "f": 2}
    with open(path, "w") as file:
        file.write(json.dumps(good | {"metrics": metrics}))
    assert live_runs("/s")[0].metrics == {"f": 2.0}


def test_links_folders_and_pipes_are_not_read(tmp_path, run):
    path = path_of_the_file()
    secret = tmp_path / "secret"
    secret.write_text(pathlib.Path(path).read_text())
    for make in (lambda: os.symlink(secret, path), lambda: os.mkfifo(path), lambda: os.mkdir(path)):
        if os.path.isdir(path):
            os.rmdir(path)
        elif os.path.lexists(path):
            os.unlink(path)
        make()
        assert live_runs("/s") == []
    os.rmdir(path)


def test_a_home_that_cannot_be_written_harms_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    run = LiveFile()
    run.begin("/s", "m", epochs=5, framework="jax")
    run.update(is_forced=True, epoch=2)
    run.end()
    assert live_runs("/s") == []


def test_a_full_disk_harms_nothing(run, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(live.os, "pwrite", full)
    run.update(is_forced=True, epoch=2)
    monkeypatch.undo()
    run.end()


def test_long_names_and_many_metrics_fit_into_the_file(run):
    run.update(is_forced=True, metrics={f"metric_{n:040}": n / 3 for n in range(1000)})
    assert len(live_runs("/s")[0].metrics) == 16
    run.begin("/s", "m", epochs=1, framework="jax")
    run.update(is_forced=True, metrics={"é" * 50 + str(n): 1.0 for n in range(16)})
    assert os.path.getsize(path_of_the_file()) == 4096


def test_a_forked_child_with_a_run_of_its_own_leaves_that_of_its_parent(run):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        own = LiveFile()
        own.begin("/s", "own", epochs=1, framework="jax")
        run._open = None  # what ends the lock of the parent in the child
        os.write(writer, ",".join(found.artifact for found in live_runs("/s")).encode())
        os._exit(0)
    os.close(writer)
    assert os.read(reader, 99) == b"m,own"
    os.close(reader)
    assert os.waitpid(child, 0)[1] == 0
    assert [found.artifact for found in live_runs("/s")] == ["m"]

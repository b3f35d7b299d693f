"""The process that compacts beside a run: it obeys, ends when it should, and loses nothing."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import kept
from kept.store.blobs.blob import RAW, read_head
from kept.store.compact.worker import FINISH, GO, PAUSE, Orders
from tests.helpers import finish, hdf5, start, tree, write

PATIENCE = 60  # seconds until a test that hangs is given up


def steps(count, size=50_000):
    rng = np.random.default_rng(0)
    now = rng.normal(0, 0.02, size)
    for _ in range(count):
        yield hdf5({"w": now.astype("f4")})
        now += rng.normal(0, 1e-4, size)


def committed(tmp_path, count=3, size=50_000):
    store = kept.open_store(tmp_path / "store")
    contents = list(steps(count, size))
    for content in contents:
        store.log_artifact("m", write(tmp_path / "m.h5", content))
    return store, contents


def begin(store, name="m"):
    command = [
        sys.executable,
        "-m",
        "kept.store.compact.worker",
        store.location,
        name,
        str(os.getpid()),
    ]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def order(process, what):
    os.write(process.stdin.fileno(), what)


def last_words(process):
    """Close its input, and return its exit code and what it said in the end."""
    out, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, json.loads(out) if out else errors.decode()


def finished(process):
    """Have it do all there is."""
    order(process, FINISH)
    process.wait(PATIENCE)
    return last_words(process)


def until(condition):
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def coded(store):
    names = {chunk.blob for v in store.versions("m") for chunk in v.manifest.chunks()}
    return sum(read_head(store.bucket, name).codec != RAW for name in names)


def check(store, contents, tmp_path):
    assert store.verify().ok
    for index, content in enumerate(contents):
        out = store[f"m:v{index}"].download(tmp_path / "out" / str(index))
        assert list(tree(out).values()) == [content]


@pytest.fixture
def orders():
    read, write = os.pipe()
    yield Orders(os.getppid(), read), lambda text: os.write(write, text)
    os.close(read)


def test_it_pauses_until_it_may_continue(orders):
    orders, send = orders
    send(PAUSE)
    looked = threading.Event()
    thread = threading.Thread(target=lambda: (orders.look(), looked.set()), daemon=True)
    thread.start()
    assert not looked.wait(0.2)
    send(GO)
    assert looked.wait(PATIENCE)


def test_the_last_of_several_orders_holds(orders):
    orders, send = orders
    send(PAUSE + GO)
    orders.look()
    send(PAUSE + GO + PAUSE + GO + FINISH)
    orders.look()
    assert orders.next_round()
    assert not orders.next_round()


def test_what_is_new_is_looked_for_before_the_end(orders):
    orders, send = orders
    assert orders.next_round()  # what was there in the beginning
    send(GO)
    assert orders.next_round()
    send(GO + FINISH)
    assert orders.next_round()
    assert not orders.next_round()


def test_it_ends_when_nothing_is_left(tmp_path):
    store, contents = committed(tmp_path)
    process = begin(store)
    code, done = finished(process)
    assert (code, done["error"]) == (0, None)
    assert done["blobs"] == coded(store) > 2
    assert 0 < done["after"] < 0.8 * done["before"]
    check(store, contents, tmp_path)


def test_it_goes_on_with_what_comes(tmp_path):
    store, contents = committed(tmp_path)
    process = begin(store)
    until(lambda: coded(store) > 2)
    later = hdf5({"w": np.arange(50_000, dtype="f4")})
    store.log_artifact("m", write(tmp_path / "m.h5", later))
    before = coded(store)
    order(process, GO)
    until(lambda: coded(store) > before)
    code, done = last_words(process)  # its input ends
    assert (code, done["error"]) == (0, None)
    check(store, [*contents, later], tmp_path)


def test_it_ends_with_the_run_though_a_fork_of_the_run_holds_its_input(tmp_path):
    store, _ = committed(tmp_path)
    run = f"""
import os, subprocess, sys
read, write = os.pipe()
os.set_inheritable(write, True)
command = [sys.executable, "-m", "kept.store.compact.worker",
    {store.location!r}, "m", str(os.getpid())]
there = subprocess.Popen(command, stdin=read, stdout=subprocess.DEVNULL)
nothing = {{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}}
fork = subprocess.Popen(["sleep", "600"], close_fds=False, **nothing)
print(there.pid, fork.pid)
"""
    [pids] = finish(start(run))
    there, fork = map(int, pids.split())
    try:
        until(lambda: not is_alive(there))
    finally:
        os.kill(fork, signal.SIGKILL)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_killed_in_the_middle_it_loses_nothing(tmp_path):
    store, contents = committed(tmp_path, 8, 200_000)
    for least in (1, 3, 6):
        process = begin(store)
        until(lambda least=least, p=process: coded(store) >= least or p.poll() is not None)
        process.kill()
        process.communicate()
        assert store.verify().ok
    process = begin(store)
    assert finished(process)[0] == 0
    check(store, contents, tmp_path)


def test_it_says_why_it_could_not(tmp_path):
    store, _ = committed(tmp_path)
    (tmp_path / "store" / "kept.json").write_text('{"format":99}')
    code, done = last_words(begin(store))
    assert code == 1
    assert done["error"].startswith("NewerFormat: ")


def test_it_takes_what_others_leave_of_the_processor():
    code = """
import os
from kept.store.compact.worker import use_idle_time_only
use_idle_time_only()
print(os.nice(0), os.sched_getscheduler(0) == getattr(os, "SCHED_IDLE", None))
"""
    assert finish(start(code)) == [f"19 {sys.platform == 'linux'}"]

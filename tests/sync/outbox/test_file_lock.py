"""Locks in forked children: none of the parent's outlives it there."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.any_framework

FORKS = """
import os, sys, threading
from kept.sync.outbox.file_lock import locked

is_over = threading.Event()

def locks():
    while not is_over.is_set():
        with locked(sys.argv[1]):
            pass

def open_locks():
    folder = "/proc/self/fd"
    paths = [os.path.join(folder, name) for name in os.listdir(folder)]
    return [path for path in paths if os.path.realpath(path).startswith(sys.argv[1])]

thread = threading.Thread(target=locks)
thread.start()
inherited = 0
for _ in range(200):
    child = os.fork()
    if not child:
        os._exit(len(open_locks()))
    inherited += os.waitpid(child, 0)[1] != 0
is_over.set()
thread.join()
print(inherited)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the descriptors are read from /proc")
def test_a_fork_while_another_thread_opens_and_closes_locks(tmp_path):
    command = [sys.executable, "-c", FORKS, str(tmp_path / "a.lock")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "0\n"

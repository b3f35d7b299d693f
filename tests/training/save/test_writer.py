"""The background thread, without a model."""

from __future__ import annotations

import errno
import io
import sys
import threading
import time

import pytest

from kept.training.save import writer
from kept.training.save.writer import Writer, wait_with_notice
from tests.helpers import finish, start

pytestmark = pytest.mark.any_framework


@pytest.fixture
def blocked():
    """A writer that is busy until blocked.go is set."""
    busy = Writer()
    busy.go = threading.Event()
    busy.submit(lambda: busy.go.wait(60))
    yield busy
    busy.go.set()
    busy.wait()


def failing(text):
    def job():
        raise ValueError(text)

    return job


def test_what_is_submitted_later_is_not_waited_for(blocked):
    """Another fit that saves all the time holds up no fit that begins."""
    later, waiting = threading.Event(), threading.Thread(target=writer.wait_for_all)
    waiting.start()
    while not blocked._changed._waiters:  # so that it waits for the first job
        time.sleep(0.001)
    blocked.submit(lambda: later.wait(60))
    blocked.go.set()
    waiting.join(30)
    assert not waiting.is_alive()
    later.set()


class TestWriter:
    def test_jobs_are_done_in_order(self, blocked):
        done = []
        for n in range(100):
            blocked.submit(lambda n=n: done.append(n))
        assert blocked.pending == 101
        assert done == []
        blocked.go.set()
        assert blocked.wait()
        assert done == list(range(100))
        assert blocked.pending == 0

    def test_one_after_the_other_in_one_thread_of_its_own(self):
        busy = Writer()
        threads = []
        for _ in range(2):
            busy.submit(lambda: threads.append(threading.current_thread()))
            busy.wait()
        assert threading.main_thread() not in threads
        assert all(thread.daemon for thread in threads)

    def test_many_threads_submit(self):
        busy, done = Writer(), []
        givers = [
            threading.Thread(
                target=lambda: [busy.submit(lambda: done.append(1)) for _ in range(50)]
            )
            for _ in range(8)
        ]
        for giver in givers:
            giver.start()
        for giver in givers:
            giver.join()
        busy.wait()
        assert len(done) == 400

    def test_the_thread_ends_with_the_work(self):
        busy, threads = Writer(), []
        busy.submit(lambda: threads.append(threading.current_thread()))
        busy.wait()
        threads[0].join(60)
        assert not threads[0].is_alive()

    def test_each_error_is_raised_once_and_the_jobs_after_it_are_done(self):
        busy, done = Writer(), []
        for job in (failing("one"), lambda: done.append(1), failing("two")):
            busy.submit(job)
        with pytest.raises(ValueError, match="one"):
            busy.wait()
        assert done == [1]
        with pytest.raises(ValueError, match="two"):
            busy.raise_failure()
        busy.raise_failure()
        assert busy.wait()

    def test_where_no_thread_is_to_be_had_jobs_are_done_on_the_spot(self, monkeypatch):
        def refuse(thread):
            raise RuntimeError("can't start new thread")

        busy, done = Writer(), []
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            for job in (lambda: done.append(1), failing("one"), lambda: done.append(2)):
                busy.submit(job)
        assert done == [1, 2]
        with pytest.raises(ValueError, match="one"):
            busy.wait(1)
        busy.submit(lambda: done.append(threading.current_thread()))
        assert busy.wait(60)
        assert done[2] is not threading.current_thread()

    def test_wait_gives_up(self, blocked):
        assert not blocked.wait(0.01)


class Full(io.StringIO):
    """A stderr on a full disk."""

    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


class TestNotice:
    @pytest.fixture(autouse=True)
    def _at_once(self, monkeypatch):
        monkeypatch.setattr(writer, "_NOTICE_AFTER", 0.01)

    @pytest.fixture
    def terminal(self, monkeypatch):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")

    def test_a_line_where_there_is_no_terminal(self, blocked, capsys):
        assert not wait_with_notice(blocked, "writing", 0.05)
        assert capsys.readouterr().err == "kept: writing, 1 to go\n"

    @pytest.mark.parametrize("stderr", [Full(), None])
    def test_a_stderr_that_takes_nothing_ends_no_wait(self, blocked, monkeypatch, stderr):
        monkeypatch.setattr(sys, "stderr", stderr)
        assert not wait_with_notice(blocked, "writing", 0.05)

    def test_a_progress_bar_on_a_terminal_needs_no_thread(
        self, blocked, terminal, capsys, monkeypatch
    ):
        """From Python 3.12 on a process that ends cannot start one."""
        monkeypatch.setattr(threading.Thread, "start", lambda thread: pytest.fail(repr(thread)))
        assert not wait_with_notice(blocked, "writing", 0.5)
        shown = capsys.readouterr().err
        assert "kept: writing" in shown
        assert "0/1" in shown

    def test_nothing_where_all_is_done(self, capsys):
        assert wait_with_notice(Writer(), "writing")
        assert capsys.readouterr().err == ""

    def test_an_error_is_raised_when_all_is_done(self, blocked, capsys):
        done = []
        blocked.submit(failing("one"))
        blocked.submit(lambda: blocked.last.wait(60))
        blocked.last = threading.Event()
        blocked.submit(lambda: done.append(1))
        # The first job ends during the wait, the one that fails as well, and two are left.
        blocked.go.set()
        threading.Timer(0.5, blocked.last.set).start()
        with pytest.raises(ValueError, match="one"):
            wait_with_notice(blocked, "writing")
        assert done == [1]


FORKED = """
import os, threading
from kept.training.save.writer import Writer
go, used, new = threading.Event(), Writer(), Writer()
used.submit(lambda: go.wait(60))
used.submit(lambda: print("by the parent", flush=True))
child = os.fork()
if child == 0:
    assert used.wait(60) and used.pending == 0  # the parent's jobs are no matter of the child
    for writer in (used, new):
        writer.submit(lambda: print("by the child", flush=True))
        assert writer.wait(60)
else:
    assert os.waitpid(child, 0)[1] == 0
    assert used.pending == 2
    go.set()
"""


def test_a_fork_leaves_jobs_to_the_parent_and_the_child_can_write():
    assert finish(start(FORKED)) == ["by the child", "by the child", "by the parent"]


class TestExit:
    def test_pending_jobs_are_done_and_errors_told(self):
        code = """
import sys, threading, atexit
from kept.training.save.writer import Writer
sys.stderr = sys.stdout
ending, writer = threading.Event(), Writer()
def fail(): raise OSError("disk full")
writer.submit(lambda: ending.wait(60))
writer.submit(fail)
writer.submit(lambda: print("done", flush=True))
atexit.register(ending.set)  # handlers are called in reverse order: now the process ends
"""
        assert finish(start(code)) == ["done", "kept: disk full"]

    def test_not_for_ever(self):
        code = """
import sys, threading
from kept.training.save import writer
sys.stderr = sys.stdout
writer.EXIT_SECONDS = 0.2
stuck = writer.Writer()
stuck.submit(threading.Event().wait)
stuck.submit(print)
"""
        last = finish(start(code))[-1]
        assert last.startswith("kept: gave up after 0 s with 2 checkpoints unwritten")

    def test_the_time_is_for_all_writers_and_whatever_fails(self):
        code = """
import sys, threading, time
from kept.training.save import writer
sys.stderr, given = sys.stdout, []
real_wait = writer.wait_with_notice

def wait(one, what, seconds):
    given.append(seconds)
    time.sleep(0.01)
    return real_wait(one, what, 0)

def fail(): raise OSError("disk full")

writer.wait_with_notice = wait
stuck = writer.Writer(), writer.Writer()
for one in stuck:
    for _ in range(2):
        one.submit(fail)
    one.submit(threading.Event().wait)
    while one.pending > 1:
        time.sleep(0.01)
writer._finish_all()
print(len(given), writer.EXIT_SECONDS >= given[0], given == sorted({*given}, reverse=True))
import os
os._exit(0)
"""
        told = finish(start(code))
        assert told.count("kept: disk full") == 4
        assert sum("gave up" in line for line in told) == 2
        assert told[-1] == "6 True True"

    def test_a_second_interrupt_gives_up_in_words(self):
        code = """
import contextlib, signal, sys, threading
from kept.training.save import writer
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.stderr, writer._NOTICE_AFTER = sys.stdout, 0.0
real_notice = writer._notice

@contextlib.contextmanager
def notice(*args):
    with real_notice(*args) as show:
        signal.raise_signal(signal.SIGINT)  # of a user who does not want to wait
        yield show

writer._notice = notice
stuck = writer.Writer()
stuck.submit(threading.Event().wait)
"""
        told, last = finish(start(code))
        assert told.startswith("kept: writing the last checkpoints, for up to 300 s")
        assert last.startswith("kept: interrupted with 1 checkpoint unwritten")

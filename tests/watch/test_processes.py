"""kept watch as a process: killed, ended, started twice, and beside a server that fails."""

from __future__ import annotations

import json
import os
import random
import signal
import time

import pytest

import kept
from kept.watch import command
from kept.watch.target import Result, Stop
from tests.helpers import finish, start
from tests.watch.receiver import SECRET

PATIENCE = 60  # seconds
CODE = "import sys; from kept.cli.main import main; sys.argv[0] = 'kept'; main()"


@pytest.fixture
def begin(store, monkeypatch):
    """Start `kept watch` on the store; what still runs at the end is killed."""
    begun = []
    monkeypatch.setenv("KEPT_WEBHOOK_SECRET", SECRET)

    def watch(*args):
        code = f"import os; os.environ['KEPT_WEBHOOK_SECRET'] = {SECRET!r}; {CODE}"
        process = start(code, "--store", store.location, "watch", "--interval", "0.05s", *args)
        begun.append(process)
        return process

    yield watch
    for process in begun:
        process.kill()
        process.wait(PATIENCE)


def kill_when(receiver, process, number):
    """Kill a process in the middle of its request of this number, and answer nothing."""

    def answer(request):
        if len(receiver.received) == number:
            process().send_signal(signal.SIGKILL)
            process().wait(PATIENCE)
            return None
        return 200

    receiver.answer = answer


def check_marks(received):
    """At most one request for an event is not marked as a repetition; return the ids."""
    plain = [request.id for request in received if not request.is_marked]
    assert len(plain) == len(set(plain))
    assert all(request.is_signed() for request in received)
    return {request.id for request in received}


def test_killed_in_the_middle_of_a_request(store, put, begin, receiver):
    args = ("m", "--on", "commit", "--webhook", f"{receiver.endpoint}/hook")
    processes = []
    kill_when(receiver, lambda: processes[-1], 2)
    for _ in range(3):
        put(store)
    processes.append(begin("--from-start", *args))
    assert processes[0].wait(PATIENCE) == -signal.SIGKILL
    processes.append(begin(*args))
    processes[-1].kill()  # at any moment, also before it has begun
    processes[-1].wait(PATIENCE)
    finish(begin("--once", "--from-start", *args))
    assert receiver.texts[:2] == ["m:v0 commit", "m:v1 commit"]
    assert len(check_marks(receiver.received)) == 3
    again = [request for request in receiver.received if request.text == "m:v1 commit"]
    assert [request.is_marked for request in again] == [False, *[True] * (len(again) - 1)]
    assert len(again) >= 2


def _kill_at_random(store, put, begin, receiver, rounds):
    chance = random.Random(7)
    args = ("--from-start", "--on", "commit,alias", "--webhook", receiver.endpoint)
    receiver.answer = lambda request: chance.choice([200, 200, 503, None])
    expected = []
    for round in range(rounds):
        process = begin(*args)
        for name in ("a", "b"):
            version = put(store, name, aliases=["newest"])
            expected += [f"{version.reference} commit", f"{version.reference} alias"]
        if round % 2:
            receiver.wait_for(len(receiver.received) + 1, PATIENCE)
        else:
            time.sleep(chance.random() / 5)
        process.kill()
        process.wait(PATIENCE)
    receiver.answer = lambda request: 200
    finish(begin("--once", *args))
    assert finish(begin("--once", *args)) == []  # nothing is left
    check_marks(receiver.received)
    first = list(dict.fromkeys(receiver.texts))
    for name in ("a", "b"):
        mine = [text for text in expected if text.startswith(f"{name}:")]
        assert [text for text in first if text.startswith(f"{name}:")] == mine


def test_killed_at_random_beside_a_failing_server(store, put, begin, receiver):
    _kill_at_random(store, put, begin, receiver, rounds=3)


@pytest.mark.integration
def test_killed_at_random_many_times(store, put, begin, receiver):
    _kill_at_random(store, put, begin, receiver, rounds=60)


def test_sigterm_ends_it_after_the_current_event(store, put, begin, receiver):
    process = begin("--webhook", receiver.endpoint, "--name", "own", "--json")
    wait_until_it_watches(process)
    put(store)
    receiver.wait_for(1)
    assert json.loads(process.line())["id"] == receiver.received[0].id
    process.terminate()
    assert process.wait(PATIENCE) == 0, process.said()
    assert "1 event sent" in process.said()
    assert SECRET not in process.said()


def test_ctrl_c(store, begin):
    process = begin()
    wait_until_it_watches(process)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert "Traceback" not in process.said()


def wait_until_it_watches(process):
    end = time.monotonic() + PATIENCE
    while "watching" not in process.said():
        assert process.poll() is None, process.said()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_reader_that_ends(store, put, begin):
    process = begin("--name", "own")
    wait_until_it_watches(process)
    process.stdout.close()
    put(store)
    assert process.wait(PATIENCE) == 1
    assert "Traceback" not in process.said()
    said = finish(begin("--once", "--name", "own"))
    assert said == ["m:v0 committed as latest"]


def test_a_second_watcher_of_the_same_name_is_refused(store, begin):
    process = begin("--name", "own")
    wait_until_it_watches(process)
    second = begin("--name", "own")
    assert second.wait(PATIENCE) == 2
    assert "Another watcher uses" in second.said()
    process.kill()
    process.wait(PATIENCE)
    finish(begin("--name", "own", "--once"))


def test_a_store_that_is_not_there_yet(tmp_path, put, begin):
    later = str(tmp_path / "later")
    process = begin("--store", later)
    end = time.monotonic() + PATIENCE
    while "waiting for the first version" not in process.said():
        assert time.monotonic() < end, process.said()
        time.sleep(0.02)
    put(kept.open_store(later))
    assert process.line() == "m:v0 committed as latest\n"


def test_sigterm_ends_the_command_and_its_event_is_sent_again(store, put, begin, tmp_path):
    mark = tmp_path / "pid"
    command = f"echo $$ > {mark}.new; mv {mark}.new {mark}; exec sleep 600"
    put(store)
    process = begin("--from-start", "--name", "own", "--attempts", "1", "--run", command)
    end = time.monotonic() + PATIENCE
    while not mark.exists():
        assert time.monotonic() < end, process.said()
        time.sleep(0.02)
    process.terminate()
    assert process.wait(PATIENCE) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
    said = finish(begin("--once", "--name", "own", "--run", "echo again=$KEPT_REDELIVERY"))
    assert said == ["again=1", "m:v0 committed as latest"]


class _Stops(Stop):
    """Ends the watcher once a file exists."""

    def __init__(self, path):
        self._path = path

    @property
    def is_set(self):
        return self._path.exists()


@pytest.mark.parametrize("leader", ["wait; wait", "exit 0"])
def test_the_end_of_a_command_ends_what_ignores_sigterm(
    store, put, noted, look, tmp_path, monkeypatch, leader
):
    monkeypatch.setattr(command, "_PATIENCE", 0.3)
    mark, deaf, script = (tmp_path / name for name in ("pid", "deaf", "script"))
    deaf.write_text(f"trap '' TERM; echo $$ > {mark}.new; mv {mark}.new {mark}; sleep 600")
    script.write_text(f"trap '{leader}' TERM; sh {deaf} & wait")
    put(store)
    look(store, noted, from_start=True)
    target = command.Command(f"sh {script}", ("here", "1"), _Stops(mark))
    assert target.send(noted.got[0][0], again=False).result is Result.STOPPED
    end = time.monotonic() + PATIENCE
    while _is_running(int(mark.read_text())):
        assert time.monotonic() < end
        time.sleep(0.02)


def _is_running(pid):
    """Return whether a process exists and is not a zombie, which another process has to read."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False

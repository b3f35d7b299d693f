"""Which processes are one run: what is found, what users give, and communicators like mpi4py's."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from kept.errors import GroupError, InvalidCheckpoint, RankMissing
from kept.training.group import open as opening
from kept.training.group.open import find_group
from kept.training.group.transports.table import Address, RemoteTable, Table, serve
from tests.training.group.threads import groups

pytestmark = pytest.mark.any_framework


class Communicator:
    """Collective calls between threads that play processes, as mpi4py has them."""

    def __init__(self, shared: Collective, rank: int) -> None:
        self._shared, self._rank, self.calls = shared, rank, 0

    def Get_rank(self):  # noqa: N802
        return self._rank

    def Get_size(self):  # noqa: N802
        return self._shared.size

    def allgather(self, value):
        self.calls += 1
        return self._shared.all(self._rank, value)

    def bcast(self, value, root=0):
        self.calls += 1
        return self._shared.all(self._rank, value)[root]


class Collective:
    def __init__(self, size: int, hosts: list[str] | None = None) -> None:
        self.size, self._values = size, [None] * size
        self._barrier = threading.Barrier(size)

    def all(self, rank, value):
        self._values[rank] = value
        self._barrier.wait(20)
        found = list(self._values)
        self._barrier.wait(20)
        return found


def communicators(size):
    shared = Collective(size)
    return [Communicator(shared, rank) for rank in range(size)]


def on_all(found, call):
    with ThreadPoolExecutor(len(found)) as pool:
        return list(pool.map(call, found))


def test_a_process_without_others_is_alone():
    assert find_group(None, 1) is None
    assert find_group(False, 1) is None
    assert find_group(communicators(1)[0], 1) is None
    group = groups(2)[1]
    assert find_group(group, 1) is group
    assert find_group(group.transport, 3).seconds == 3
    assert find_group(groups(1)[0], 1) is None


def test_nothing_is_imported_to_find_out_that_a_process_is_alone():
    code = """
import sys
from kept.training.group.open import find_group
assert find_group(None, 1) is None
assert not {"jax", "torch", "tensorflow", "keras", "numpy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("given", [True, 4, "jax", object()])
def test_what_is_no_group_is_refused(given):
    with pytest.raises(InvalidCheckpoint, match=r"group=.* is not valid: pass None.*mpi4py"):
        find_group(given, 1)


def test_processes_of_a_communicator_exchange_messages():
    given = communicators(3)

    def work(communicator):
        group = find_group(communicator, 20)
        channel = group.channel("first")
        found = [channel.gather(group.rank, "ranks"), channel.broadcast(group.rank, "a value")]
        again = find_group(communicator, 20)  # a second fit: no collective call
        assert again.transport is group.transport
        assert communicator.calls == 2
        return [*found, again.channel("second").gather("x" * 600_000, "large ones")]

    assert on_all(given, work) == [[[0, 1, 2], 0, ["x" * 600_000] * 3]] * 3


def test_a_waiting_thread_does_not_hinder_another_one():
    table = Table(2)
    remote = RemoteTable(serve(table, ("127.0.0.1",), b"secret"), 1, 2, 20)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(remote.get, "later", 20)
        remote.set("now", b"1")
        assert table.get("now", 0) == b"1"
        remote.delete("now")
        with pytest.raises(TimeoutError):
            table.get("now", 0)
        with pytest.raises(TimeoutError):
            remote.get("now", 0)
        table.set("later", b"\n2")
        assert waits.result() == b"\n2"


def test_a_process_without_the_key_learns_and_changes_nothing():
    table = Table(2)
    address = serve(table, ("127.0.0.1",), b"secret")
    stranger = RemoteTable(address._replace(key=b"guess"), 1, 2, 20)
    for call in (stranger.connect, lambda: stranger.set("a", b"1"), lambda: stranger.get("a", 1)):
        with pytest.raises(GroupError, match="Cannot reach the other processes"):
            call()
    with pytest.raises(TimeoutError):
        table.get("a", 0)


def test_a_silent_server_is_noticed(monkeypatch):
    """A host that lost power: its connection stays open, and nothing answers."""
    table = Table(2)
    over = threading.Event()
    monkeypatch.setattr(table, "get", lambda key, seconds: bytes(over.wait(60)))
    remote = RemoteTable(serve(table, ("127.0.0.1",), b"secret"), 1, 2, -1)
    with pytest.raises(GroupError, match="Cannot reach the other processes"):
        remote.get("a", 60)
    over.set()


def test_a_host_name_that_does_not_answer_is_passed_over():
    address = serve(Table(2), ("127.0.0.1",), b"secret")
    remote = RemoteTable(Address(("127.0.0.9", *address.hosts), *address[1:]), 1, 2, 20)
    remote.connect()
    nowhere = RemoteTable(Address(("127.0.0.9",), 9, b""), 1, 2, 20)
    with pytest.raises(GroupError, match="refused"):
        nowhere.connect()


def test_a_process_that_does_not_join_is_an_error_within_the_limit():
    first, second = communicators(2)
    with pytest.raises(GroupError, match=r"did not meet: bcast or allgather waited for 0.05 s"):
        find_group(first, 0.05)
    first._shared._barrier.abort()
    with pytest.raises(GroupError, match="did not meet: bcast or allgather failed"):
        find_group(second, 20)


def test_a_missing_rank_of_a_communicator_is_named():
    first, _, last = on_all(communicators(3), lambda one: find_group(one, 20))
    last.channel("c").collect("here", "the states")
    with pytest.raises(RankMissing, match="rank 1 of 3 did not answer"):
        first.channel("c").collect("own", "the states", 0.05)


def test_keras_decides_which_framework_joins_processes(monkeypatch):
    jax = SimpleNamespace(
        global_state=SimpleNamespace(client=object(), process_id=1, num_processes=2)
    )
    torch = SimpleNamespace(is_available=lambda: True, is_initialized=lambda: True)
    torch.get_world_size, torch.get_rank, store = lambda: 4, lambda: 3, object()
    torch.distributed_c10d = SimpleNamespace(_get_default_store=lambda: store)
    monkeypatch.setitem(sys.modules, "jax._src.distributed", jax)
    monkeypatch.setitem(sys.modules, "torch.distributed", torch)
    found = {}
    for name in ("jax", "torch", "tensorflow"):
        keras = SimpleNamespace(backend=SimpleNamespace(backend=lambda name=name: name))
        monkeypatch.setitem(sys.modules, "keras", keras)
        transport = opening._found()
        found[name] = transport and (transport.label, transport.rank, transport.size)
    assert found["jax"] == ("jax.distributed", 1, 2)
    assert found["torch"] == ("torch.distributed", 3, 4)
    assert found["tensorflow"] is None
    store = None
    torch.get_backend = lambda: "mpi"
    monkeypatch.setitem(
        sys.modules, "keras", SimpleNamespace(backend=SimpleNamespace(backend=lambda: "torch"))
    )
    with pytest.raises(InvalidCheckpoint, match="backend mpi has no key-value store: pass group="):
        find_group(None, 1)
    torch.is_initialized = lambda: False
    assert find_group(None, 1) is None

"""A Transport for communicators like those of mpi4py, which the user gives as `group=`.

They have collective calls only, without a time limit, and one of a thread could meet one of
another. So kept makes two of them: the host names, and the address of a table in the first process.
"""

from __future__ import annotations

import secrets
import socket
import threading
from typing import TYPE_CHECKING, Any

from kept.errors import GroupError, KeptError
from kept.training.group.transports.table import Address, RemoteTable, Table, serve

if TYPE_CHECKING:
    from kept.training.group.base import Transport

_CALLS = ("Get_rank", "Get_size", "bcast", "allgather")
_joined: dict[int, tuple[Any, Transport]] = {}  # by id, and the communicator, which keeps its id


def is_communicator(given: Any) -> bool:
    """Return whether an object has the calls of mpi4py's communicators that kept needs."""
    return all(callable(getattr(given, name, None)) for name in _CALLS)


def join(communicator: Any, seconds: float) -> Transport | None:
    """Return the transport of all processes of a communicator, None if it has only this one.

    The first call is collective, with a time limit; later ones return the same transport. It runs
    in a thread, which mpi4py allows by default (MPI_THREAD_MULTIPLE). Raises GroupError.
    """
    if communicator.Get_size() < 2:
        return None
    if id(communicator) not in _joined:
        joining = _Joining(communicator, seconds)
        joining.start()
        joining.join(seconds)
        _joined[id(communicator)] = (communicator, joining.result())
    return _joined[id(communicator)][1]


class _Joining(threading.Thread):
    """Makes the collective calls; they cannot be interrupted, so a stuck one stays in a thread."""

    def __init__(self, communicator: Any, seconds: float) -> None:
        super().__init__(name="kept-group", daemon=True)
        self._communicator, self._seconds = communicator, seconds
        self._transport: Transport | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            self._transport = _transport(self._communicator, self._seconds)
        except Exception as error:  # noqa: BLE001 (anything that a communicator may raise)
            self._error = error

    def result(self) -> Transport:
        """Return the transport. Raises GroupError."""
        if self._transport is not None:
            return self._transport
        if isinstance(self._error, KeptError):
            raise self._error
        size, label = self._communicator.Get_size(), type(self._communicator).__name__
        reason = f"failed: {self._error}" if self._error else f"waited for {self._seconds:g} s"
        raise GroupError(
            f"The {size} processes of {label} did not meet: bcast or allgather {reason}. All "
            "processes of the communicator must train this model with kept"
        ) from self._error


def _transport(communicator: Any, seconds: float) -> Transport:
    rank, size = communicator.Get_rank(), communicator.Get_size()
    names = communicator.allgather(socket.gethostname())
    if rank == 0:
        table = Table(size)
        address = serve(table, _hosts(names), secrets.token_bytes(32))
        communicator.bcast(tuple(address), root=0)
        return table
    remote = RemoteTable(Address(*communicator.bcast(None, root=0)), rank, size, seconds)
    remote.connect()
    return remote


def _hosts(names: list[str]) -> tuple[str, ...]:
    """Return how the other processes may reach this one, which is the first of the names."""
    if len(set(names)) == 1:
        return ("127.0.0.1",)
    try:
        found = socket.gethostbyname_ex(names[0])[2]
    except OSError:
        found = []
    return (*(host for host in found if not host.startswith("127.")), names[0])

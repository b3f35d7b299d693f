"""A key-value store in the memory of the first process, for communicators that have none.

The other processes reach it over TCP. multiprocessing.connection has the framing of messages and
the mutual check of a secret key; nothing is unpickled. If all processes run on one host, the server
listens on its loopback only. Each connection serves one call at a time, so a thread that waits has
its own.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import NamedTuple

from kept.training.group.transports.waiting import StoreTransport

LABEL = "the communicator"
_FAILURES = (OSError, EOFError, AuthenticationError)


class Address(NamedTuple):
    """Where the first process serves its table; all processes get it over the communicator."""

    hosts: tuple[str, ...]
    port: int
    key: bytes


class Table:
    """See Transport; the first process has the values, and uses them without a connection."""

    rank = 0
    label = LABEL

    def __init__(self, size: int) -> None:
        """Take the number of processes."""
        self.size = size
        self._values: dict[str, bytes] = {}
        self._changed = threading.Condition()

    def set(self, key: str, value: bytes) -> None:
        """Set a key."""
        with self._changed:
            self._values[key] = value
            self._changed.notify_all()

    def get(self, key: str, seconds: float) -> bytes:
        """Return the value of a key; wait for up to some seconds. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: key in self._values, seconds):
                raise TimeoutError(f"No value of {key} after {seconds:g} s")
            return self._values[key]

    def delete(self, key: str) -> None:
        """Delete a key; a missing one is fine."""
        with self._changed:
            self._values.pop(key, None)


def serve(table: Table, hosts: tuple[str, ...], key: bytes) -> Address:
    """Serve a table on these hosts of this machine, until the process ends."""
    interface = hosts[0] if hosts == ("127.0.0.1",) else ""
    server = socket.create_server((interface, 0), backlog=128)
    threading.Thread(
        target=_accept, args=(server, table, key), name="kept-group", daemon=True
    ).start()
    return Address(hosts, server.getsockname()[1], key)


def _accept(server: socket.socket, table: Table, key: bytes) -> None:
    while True:
        accepted, _ = server.accept()
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The check of the key waits for the client, so it may not stop the others.
        threading.Thread(
            target=_answer_all,
            args=(Connection(accepted.detach()), table, key),
            name="kept-group",
            daemon=True,
        ).start()


def _answer_all(connection: Connection, table: Table, key: bytes) -> None:
    with connection:
        try:
            deliver_challenge(connection, key)
            answer_challenge(connection, key)
            while True:
                connection.send_bytes(_answer(table, connection.recv_bytes()))
        except _FAILURES:
            return  # the process at the other end has ended, or is no process of this run


def _answer(table: Table, request: bytes) -> bytes:
    header, _, value = request.partition(b"\n")
    verb, key, seconds = json.loads(header)
    if verb == "set":
        table.set(key, value)
    elif verb == "delete":
        table.delete(key)
    else:
        try:
            return b"+" + table.get(key, seconds)
        except TimeoutError:
            return b"-"
    return b"+"


class RemoteTable(StoreTransport):
    """See Transport; the first process's table, seen from another process."""

    label = LABEL
    failures = _FAILURES

    def __init__(self, address: Address, rank: int, size: int, seconds: float) -> None:
        """Take the address, the place of this process, and the time limit of a silent server."""
        super().__init__(rank, size)
        self._address, self._seconds = address, seconds
        self._idle: list[Connection] = []

    def connect(self) -> None:
        """Connect to the first process. Raises GroupError."""
        try:
            self._idle.append(self._connected())
        except self.failures as error:
            raise self._unreachable(error) from error

    def _set(self, key: str, value: bytes) -> None:
        self._ask("set", key, 0, value)

    def _wait(self, key: str, seconds: float) -> bytes | None:
        reply = self._ask("get", key, seconds)
        return reply[1:] if reply[:1] == b"+" else None

    def _delete(self, key: str) -> None:
        self._ask("delete", key, 0)

    def _ask(self, verb: str, key: str, seconds: float, value: bytes = b"") -> bytes:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connected()
        try:
            connection.send_bytes(json.dumps([verb, key, seconds]).encode() + b"\n" + value)
            reply = connection.recv_bytes()
        except BaseException:  # also Ctrl-C: the reply to this call is still to come
            connection.close()
            raise
        self._idle.append(connection)
        return reply

    def _connected(self) -> Connection:
        end = time.monotonic() + self._seconds
        hosts = self._address.hosts
        for index, host in enumerate(hosts):
            limit = max(end - time.monotonic(), 1) / (len(hosts) - index)
            try:
                opened = socket.create_connection((host, self._address.port), limit)
                break
            except OSError:
                if host == hosts[-1]:
                    raise
        opened.settimeout(None)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A host that loses power answers nothing: then a call ends with an OSError.
        limit_s = struct.pack("@ll", int(self._seconds) + 2, 0)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit_s)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit_s)
        connection = Connection(opened.detach())
        answer_challenge(connection, self._address.key)
        deliver_challenge(connection, self._address.key)
        return connection

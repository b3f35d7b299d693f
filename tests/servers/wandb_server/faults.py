"""The faults of the server, which a test chooses."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

Fault = Callable[[str], str | None]


class Broken(BaseException):
    """The connection is closed; no client waits for an answer."""


class Faults:
    """Set `fault` to a function of the call's name that returns a fault's name or None.

    A call's name is "createArtifact" and the like for GraphQL, "upload", "download", "file_stream",
    and "unauthorized" without credentials, which is how a client asks whether the server is there.

    away     breaks off at once
    503      answers 503, and does nothing (so for any other status)
    half     breaks off in the middle of an upload: nothing is stored
    drop     does it, and breaks off instead of answering
    slow     waits a little at every piece

    The function may block: then the call waits.
    """

    def __init__(self) -> None:
        self.fault: Fault = lambda name: None
        self.calls: list[str] = []
        self.lock = threading.RLock()

    def begin(self, request: Request, name: str) -> Call:
        self.calls.append(name)
        call = Call(request.environ.get("werkzeug.socket"), self.fault(name))
        if call.fault == "away":
            call.break_off()
        return call


class Call(NamedTuple):
    """A call that was begun."""

    socket: Any
    fault: str | None

    @property
    def refusal(self) -> int | None:
        return int(self.fault) if self.fault and self.fault.isdecimal() else None

    def received(self, size: int) -> None:
        """Note that some bytes have come."""
        if self.fault == "half":
            self.break_off()
        elif self.fault == "slow":
            time.sleep(0.05)

    def end(self) -> None:
        """Note that all is done but the answer."""
        if self.fault == "drop":
            self.break_off()

    def break_off(self) -> None:
        linger = struct.pack("ii", 1, 0)  # close with a reset, not politely
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()
        raise Broken

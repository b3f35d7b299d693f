"""The process that a gc runs in, as its list names it: so another gc knows that it was killed.

Only a gc reads this, and writers do not depend on it.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kept.store.encoding import Json

_PROC = Path("/proc")


def this_process() -> dict[str, Json]:
    """Return what identifies this process: host, number and start."""
    pid = os.getpid()
    return {"host": _host(), "pid": pid, "start": _start(pid)}


def is_gone(owner: Json) -> bool:
    """Return whether a process of this host is known to have ended.

    False means that it lives, or that nothing is known: it ran on another host, or in another
    container.
    """
    if not isinstance(owner, dict) or owner.get("host") != _host() or os.name != "posix":
        return False
    pid, start = owner.get("pid"), owner.get("start")
    if type(pid) is not int or pid < 1:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it belongs to another user, or cannot be a process
        pass
    now = _start(pid)
    return start is not None and now is not None and now != start


def _host() -> str:
    """Return the name of the host, of its start, and of the container that numbers processes."""
    boot = namespace = ""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink(_PROC / "self/ns/pid")
    except OSError:  # no Linux
        pass
    return " ".join(filter(None, (socket.gethostname(), boot, namespace)))


def _start(pid: int) -> str | None:
    """Return when a process started, in ticks of the kernel; None if that is not known.

    A process that has ended, and that its parent has not asked for yet, counts as one of its own.
    """
    try:
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return "ended" if fields[0] == b"Z" else fields[19].decode()

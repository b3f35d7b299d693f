"""The messages of one save whose bytes several processes hold.

Each channel has one sender, and belongs to one save: what is left unread of a save that failed is
never read by another one.

    requests     rank 0 to all: {"wait"}, {"store": attempt}, and last {"done"} or {"failed"}
    wanted-N     rank 0 to all: what attempt N needs of each rank
    answers-R    rank R to rank 0: {"wait"}, {"pieces"}, {"stored", "attempt"},
                 {"failed", "attempt", "errno"}

Invariant: a follower gives its pieces, then one answer to each request, and reads requests until
the last. Rank 0 sends a last request whatever happens. "failed" can replace each answer; then rank
0 ends the save, or asks all for another attempt, if a disk was full. A rank whose pieces are not
known stores nothing: its one answer is "failed", without an attempt. A process that works long
sends "wait" now and then, as long as its work makes progress; so the time limit is one of silence.
A follower waits twice as long as rank 0, so it learns from rank 0 which rank is silent.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kept.errors import SaveFailed

if TYPE_CHECKING:
    from kept.training.group.announce import SharedSave
    from kept.training.group.base import Channel, Json

Message = dict[str, Any]

_SIGNS = 4  # of work in progress, within the time limit


class Outgoing:
    """The channel on which this process sends."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._pause = channel.group.seconds / _SIGNS
        self._last = time.monotonic()

    def send(self, **message: Json) -> None:
        """Send a message."""
        self._last = time.monotonic()
        self._channel.send(message)

    def at_work(self) -> None:
        """Send a sign that work makes progress, if some time has passed since the last message."""
        if time.monotonic() - self._last > self._pause:
            self.send(wait=True)

    def all_read(self) -> None:
        """Delete all messages."""
        self._channel.sent_all_read()


def requests(save: SharedSave) -> Channel:
    """Return the channel of requests."""
    return save.channel("requests")


def answers(save: SharedSave, rank: int) -> Channel:
    """Return the channel of a rank's answers."""
    return save.channel(f"answers-{rank}")


def wanted(save: SharedSave, attempt: int) -> Channel:
    """Return the channel with what an attempt needs."""
    return save.channel(f"wanted-{attempt}")


def failure(error: Exception) -> Message:
    """Return the answer of a rank with an error."""
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        path = "" if error.filename is None else f": {error.filename}"
        return {"failed": f"{error.strerror}{path}", "errno": error.errno}
    return {"failed": f"{type(error).__name__}: {error}", "errno": None}


def answer_of(
    channel: Channel, rank: int, what: str, own: Outgoing, attempt: int | None = None
) -> Message:
    """Return the next answer of a rank; those of earlier attempts are not looked at.

    Raises RankMissing; or what the rank raised, as OSError with its number or as SaveFailed.
    """
    while "wait" in (message := channel.receive(what, rank=rank)) or (
        message.get("attempt", attempt) != attempt
    ):
        own.at_work()  # the other followers wait for this process meanwhile
    if "failed" in message:
        if message["errno"] is not None:
            raise OSError(message["errno"], f"rank {rank}: {message['failed']}")
        raise SaveFailed(f"rank {rank}: {message['failed']}")
    found: Message = message
    return found

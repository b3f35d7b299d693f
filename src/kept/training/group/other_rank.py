"""The side of the ranks after the first one of announce.py."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NoReturn

from kept.errors import GroupError, KeptError, SaveFailed
from kept.training.group import announce
from kept.training.group.announce import (
    MEETING,
    Begun,
    Openings,
    Place,
    SharedSave,
    Step,
    Stop,
    check_all,
    signal_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.training.group.base import Group


class OtherRank:
    """Reads the decisions of the first rank."""

    def __init__(self, group: Group, fit: int) -> None:
        self.group, self._fit = group, fit
        self._channel = group.channel(f"{fit}/decisions")
        self._hooks = 0
        self._openings = Openings()
        self._has_signaled = False

    def is_open(self, batch: int | None) -> bool:
        """Return whether the first rank announces something in a hook."""
        return self._openings.is_open(batch)

    def steps(self, place: Place) -> Iterator[Step | Stop]:
        """Yield what the first rank does in an open hook, in order.

        At the end of a hook in which the first rank leaves or ends, it raises what that one raised:
        SystemExit, SaveFailed or GroupError. Raises RankMissing if it does not answer in time.
        """
        while True:
            message = self._channel.receive(f"what it does at {place}")
            there = Place(*message["at"])
            if there != place:
                raise GroupError(
                    f"rank {self.group.rank} is at {place}, and rank 0 is at {there}: the ranks "
                    "train different numbers of batches or epochs. Give each rank as many batches"
                )
            if "until" in message:
                self._openings.opened(place.batch, int(message["until"]))
                self._hooks += 1
                if self._hooks % announce.ROUND == 0:
                    self._channel.gather(None, MEETING)
                return
            if "save" in message:
                save = SharedSave(self.group, self._fit, int(message["save"]))
                yield Step(save, takes_state=bool(message["state"]))
            elif "copy" in message:
                save = SharedSave(self.group, self._fit, int(message["copy"]))
                yield Step(save, copies=True)
            elif "stop" in message:
                yield Stop()
            elif "waits" not in message:
                _end_as(message)

    def begun(self) -> Begun:
        """Return what the first rank has chosen for the fit; raises what it raised instead."""
        message: dict[str, Any] = {"waits": True}
        while "waits" in message:
            message = self._channel.receive("the beginning of the fit")
        if "begun" not in message:
            _end_as(message)
        return Begun(*message["begun"])

    def check_store(self, problem: str | None) -> None:
        """Report why this rank cannot use the store; raises GroupError if any rank cannot."""
        check_all(self.group, f"{self._fit}/stores", problem)

    def signal(self) -> None:
        """Report that this process got SIGTERM; the first rank then saves, and all leave."""
        if not self._has_signaled:
            self._has_signaled = True
            with contextlib.suppress(OSError, RuntimeError, ValueError):  # another rank was first
                self.group.transport.set(signal_key(self._fit), b"1")


def _end_as(message: dict[str, Any]) -> NoReturn:
    if "leave" in message:
        raise SystemExit(message["leave"])
    error: type[KeptError] = SaveFailed if message.get("kind") == "save" else GroupError
    raise error(f"rank 0 ended the fit: {message.get('error', 'it began another one')}")

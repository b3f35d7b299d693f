"""What the first rank announces in its hooks, and how the other ranks read it.

A hook is open if the first rank announces something in it: at the end of each epoch and of the fit,
and at the end of some batches. In an open hook it sends any number of saves, then one last message:
the hook ends, the process leaves, or an error ended the fit. The end of a hook names the next batch
with an open hook, about LEASE seconds later; so most batches cost no message. What is asked for in
between, by a clock or by SIGTERM, waits for the next open hook.

Invariant: all ranks call the same hooks of one fit in the same order. Each message names its hook,
so a rank in another one finds out and ends with an error instead of a wrong state.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

from kept.errors import GroupError, KeptError, SaveFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.training.group.base import Channel, Group, Json

LEASE = 0.2  # seconds between two open hooks within an epoch
_ROUND = 500  # open hooks, after which all processes meet and the messages are deleted
_MEETING = "all processes to read the decisions of the first one"
_BEGIN, _END = -1, -2  # epochs in messages of the beginning and the end of the fit


class Place(NamedTuple):
    """A hook: the end of a batch, of an epoch (batch None), or of the fit."""

    epoch: int
    batch: int | None = None

    def __str__(self) -> str:
        if self.epoch < 0:
            return f"the {'beginning' if self.epoch == _BEGIN else 'end'} of the fit"
        epoch = f"epoch {self.epoch + 1}"
        return f"the end of {epoch}" if self.batch is None else f"batch {self.batch + 1} of {epoch}"


BEGIN_OF_FIT, END_OF_FIT = Place(_BEGIN), Place(_END)


class SharedSave(NamedTuple):
    """A save in which all ranks take part; number counts the saves of a fit."""

    group: Group
    fit: int
    number: int

    def channel(self, what: str) -> Channel:
        """Return a channel of this save alone, so that no error of one save affects the next."""
        return self.group.channel(f"{self.fit}/{what}/{self.number}")

    def states(self, own: Json) -> list[Json]:
        """Give the state of the own run; return the others' on the first rank, [] elsewhere."""
        return self.channel("states").collect(own, "the states of their runs, for a save")[1:]


class Begun(NamedTuple):
    """What the first rank has chosen for a fit."""

    artifact: str
    store_id: str  # empty without a store
    needs_store: bool  # whether all ranks read or write the store


class Lead(Protocol):
    """What a controller does for other ranks: nothing if there are none."""

    group: Group | None

    @property
    def is_preempted(self) -> bool:
        """Whether another rank got SIGTERM."""

    def begun(self, begun: Begun) -> None:
        """Announce what the fit uses; raises GroupError if a rank does not see the store."""

    def is_open(self, batch: int | None) -> bool:
        """Return whether a hook may save, raise an error or leave."""

    def hook(self, place: Place) -> contextlib.AbstractContextManager[None]:
        """Announce what the block does, at its end."""

    def save(self, *, with_state: bool) -> SharedSave | None:
        """Announce a save; with_state asks the other ranks for the states of their runs."""

    def batches_until_save(self, count: float) -> None:
        """Take how many batches the next save by save_freq is away."""

    def waits_for(self, waiter: Waits) -> None:
        """Wait for something that may take long, and announce now and then that it does."""


class Waits(Protocol):
    """Something that can be waited for: a writer."""

    def is_done(self, timeout: float | None = None) -> bool:
        """Wait for up to timeout seconds; return whether it is done."""


class Alone:
    """A process without others; see Lead."""

    group: Group | None = None
    is_preempted = False

    def begun(self, begun: Begun) -> None:
        pass

    def waits_for(self, waiter: Waits) -> None:
        pass

    def is_open(self, batch: int | None) -> bool:  # noqa: ARG002
        return True

    def hook(self, place: Place) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002
        return contextlib.nullcontext()

    def save(self, *, with_state: bool) -> None:
        pass

    def batches_until_save(self, count: float) -> None:
        pass


class FirstRank:
    """Announces the decisions of the first rank; see Lead."""

    def __init__(self, group: Group, fit: int) -> None:
        self.group: Group | None = group
        self._group, self._fit = group, fit
        self._channel = group.channel(f"{fit}/decisions")
        self._number = self._hooks = 0
        self._next = 0  # the batch with the next open hook
        self._left = float("inf")
        self._last = (time.monotonic(), -1)  # when a batch ended, and which
        self._place = END_OF_FIT

    @property
    def is_preempted(self) -> bool:
        """See Lead."""
        try:
            return bool(self._group.transport.get(_signal_key(self._fit), 0.0))
        except TimeoutError:
            return False

    def is_open(self, batch: int | None) -> bool:
        """See Lead."""
        return batch is None or batch >= self._next

    @contextlib.contextmanager
    def hook(self, place: Place) -> Iterator[None]:
        """See Lead."""
        if not self.is_open(place.batch):
            yield
            return
        self._place = place
        try:
            yield
        except SystemExit as error:
            self._send({"leave": error.code})
            raise
        except BaseException as error:
            kind = "save" if isinstance(error, SaveFailed) else "other"
            self._send({"error": f"{type(error).__name__}: {error}", "kind": kind})
            raise
        self._next = self._until(place.batch)
        self._send({"until": self._next})
        self._hooks += 1
        if self._hooks % _ROUND == 0:
            self._channel.gather(None, _MEETING)

    def save(self, *, with_state: bool) -> SharedSave:
        """See Lead."""
        self._number += 1
        self._send({"save": self._number, "state": with_state})
        return SharedSave(self._group, self._fit, self._number)

    def begun(self, begun: Begun) -> None:
        """See Lead."""
        self._send({"begun": begun})
        if begun.needs_store:
            check_all(self._group, f"{self._fit}/stores", None)

    def waits_for(self, waiter: Waits) -> None:
        """See Lead."""
        while not waiter.is_done(self._group.seconds / 3):
            self._send({"waits": True})

    def batches_until_save(self, count: float) -> None:
        """See Lead."""
        self._left = count

    def _until(self, batch: int | None) -> int:
        """Return the batch with the next open hook after this one; None is the end of an epoch."""
        now, (before, last) = time.monotonic(), self._last
        self._last = now, -1 if batch is None else batch
        if batch is None:
            return 0
        done = max(batch - last, 1)
        steps = max(int(done * LEASE / max(now - before, 1e-6)), 1)
        return batch + max(int(min(steps, 2 * done, self._left)), 1)

    def _send(self, message: dict[str, Any]) -> None:
        self._channel.send({"at": self._place, **message})


class OtherRank:
    """Reads the decisions of the first rank."""

    def __init__(self, group: Group, fit: int) -> None:
        self.group, self._fit = group, fit
        self._channel = group.channel(f"{fit}/decisions")
        self._next = self._hooks = 0
        self._has_signaled = False

    def is_open(self, batch: int | None) -> bool:
        """Return whether the first rank announces something in a hook."""
        return batch is None or batch >= self._next

    def saves(self, place: Place) -> Iterator[tuple[SharedSave, bool]]:
        """Yield the saves of an open hook, and whether each takes a state.

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
                self._next = int(message["until"])
                self._hooks += 1
                if self._hooks % _ROUND == 0:
                    self._channel.gather(None, _MEETING)
                return
            if "save" in message:
                number = int(message["save"])
                yield SharedSave(self.group, self._fit, number), bool(message["state"])
            elif "waits" not in message:
                _end_as(message)

    def begun(self) -> Begun:
        """Return what the first rank has chosen for the fit; raises what it raised instead."""
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
                self.group.transport.set(_signal_key(self._fit), b"1")


def check_all(group: Group, channel: str, problem: str | None) -> None:
    """Exchange what each rank cannot do; all ranks raise the same GroupError if one cannot."""
    problems = group.channel(channel).gather(problem, "whether all ranks see the store")
    found = [f"rank {rank}: {text}" for rank, text in enumerate(problems) if text]
    if found:
        raise GroupError("; ".join(found[:5]))


def _signal_key(fit: int) -> str:
    return f"kept/{fit}/sigterm"


def _end_as(message: dict[str, Any]) -> NoReturn:
    if "leave" in message:
        raise SystemExit(message["leave"])
    error: type[KeptError] = SaveFailed if message["kind"] == "save" else GroupError
    raise error(f"rank 0 ended the fit: {message['error']}")

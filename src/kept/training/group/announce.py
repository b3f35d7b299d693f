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

from typing import TYPE_CHECKING, NamedTuple, Protocol

from kept.errors import GroupError

if TYPE_CHECKING:
    from kept.training.group.base import Channel, Group, Json

LEASE = 0.2  # seconds between two open hooks within an epoch
ROUND = 500  # open hooks, after which all processes meet and the messages are deleted
MEETING = "all processes to read the decisions of the first one"
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


class Copies(Protocol):
    """Announces that pieces of the weights are copied."""

    def copies(self, number: int) -> None:
        """Announce it for a save."""


class SharedSave(NamedTuple):
    """A save in which all ranks take part; number counts the saves of a fit."""

    group: Group
    fit: int
    number: int
    lead: Copies | None = None  # on the first rank

    def begin_copy(self) -> None:
        """Announce that the first rank now copies its pieces of the weights, and all others do."""
        if self.lead is not None:
            self.lead.copies(self.number)

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
    resumes: bool  # whether the fit looks for a version to resume


class Openings:
    """Which batches have an open hook; all ranks compute it alike."""

    def __init__(self) -> None:
        self.next = 0  # the next one of this epoch
        self._last = -1

    def is_open(self, batch: int | None) -> bool:
        """Return whether a hook is open; batch -1 is the beginning of an epoch, which is not.

        A batch before the last open one is of a new epoch, in a loop that may lack epoch hooks.
        """
        return batch is None or batch >= self.next or 0 <= batch <= self._last

    def opened(self, batch: int | None, until: int) -> None:
        """Note an open hook, and the batch of the next one."""
        self._last, self.next = -1 if batch is None else batch, until


class Step(NamedTuple):
    """A part of a save, in which the other ranks take part: it begins, or pieces are copied."""

    save: SharedSave
    takes_state: bool = False  # of the beginning
    copies: bool = False


class Stop(NamedTuple):
    """The end of the training, after the batch or epoch of this hook."""


def check_all(group: Group, channel: str, problem: str | None) -> None:
    """Exchange what each rank cannot do; all ranks raise the same GroupError if one cannot."""
    problems = group.channel(channel).gather(problem, "whether all ranks see the store")
    found = [f"rank {rank}: {text}" for rank, text in enumerate(problems) if text]
    if found:
        raise GroupError("; ".join(found[:5]))


def signal_key(fit: int) -> str:
    """Return the key that a rank sets when it gets SIGTERM."""
    return f"kept/{fit}/sigterm"

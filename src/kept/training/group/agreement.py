"""Steps in which all processes of a run succeed, or none, before a fit resumes.

Invariant: all ranks begin the same steps and choices in the same order. A rank whose step fails
says so to the others, so all of them end the step with an error that names the rank.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from kept.errors import CannotResume, Damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.training.group.base import Group, Json

_BYTES_PER_SECOND = 5e6  # that each process can read at least
BEGIN = "begin"  # the series of channels that are used before the first batch of a fit
# By transport and rank: counts what all ranks begin in one order, outside of a fit.
_uses: defaultdict[tuple[str, int], Iterator[int]] = defaultdict(itertools.count)


def next_key(group: Group | None) -> str:
    """Return the next name for agreements outside of a fit.

    All ranks call it before anything that may fail on one alone, so that they have the same name.
    """
    return "" if group is None else f"resume-{next(_uses[group.transport.label, group.rank])}"


class Agreement:
    """The agreement of the processes of a group, or of a process that is alone."""

    def __init__(self, group: Group | None = None, key: str | None = None) -> None:
        """Take a name that all ranks give to this agreement alone; None is next_key()."""
        self._group = group
        self.rank, self.size = (0, 1) if group is None else (group.rank, group.size)
        if group is not None:
            self._channel = group.in_series(BEGIN, group.channel(key or next_key(group)))

    @property
    def is_first(self) -> bool:
        """Whether this process chooses for all."""
        return self.rank == 0

    def choice(self, value: Json, what: str) -> Json:
        """Return the first rank's value on all ranks; raises RankMissing."""
        return value if self._group is None else self._channel.broadcast(value, what)

    def is_same(self, value: Json, what: str) -> bool:
        """Return whether all ranks have the same value; raises RankMissing."""
        return self._group is None or len({*map(str, self._channel.gather(value, what))}) == 1

    @contextlib.contextmanager
    def step(self, what: str, size: int = 0) -> Iterator[None]:
        """Run the block on all ranks, and wait for the others; size is the bytes that it reads.

        A process gives the others as much time as it took itself, and the group's limit on top.
        If it fails on some rank, all raise CannotResume, or Damaged if it is damage everywhere that
        it fails. Raises RankMissing. A process that is alone raises the error as it is.
        """
        if self._group is None:
            yield
            return
        start = time.monotonic()
        try:
            yield
        except Exception as error:
            seconds = time.monotonic() - start + size / _BYTES_PER_SECOND
            raise self._errors(what, seconds, error) or error from error
        seconds = time.monotonic() - start + size / _BYTES_PER_SECOND
        if (failed := self._errors(what, seconds, None)) is not None:
            raise failed

    def _errors(self, what: str, more: float, own: Exception | None) -> Exception | None:
        """Exchange the errors of all ranks; return the one that all raise."""
        assert self._group is not None
        told = None if own is None else [isinstance(own, Damaged), f"{type(own).__name__}: {own}"]
        answers = self._channel.gather(told, what, self._group.seconds + more)
        failed = {rank: answer for rank, answer in enumerate(answers) if answer is not None}
        if not failed:
            return None
        kind = Damaged if all(is_damage for is_damage, _ in failed.values()) else CannotResume
        reasons = "; ".join(f"rank {rank}: {text}" for rank, (_, text) in [*failed.items()][:5])
        rest = f" (and {len(failed) - 5} more)" if len(failed) > 5 else ""
        return kind(f"{len(failed)} of {self.size} processes could not {what}. {reasons}{rest}")

"""Script: messages between the processes of a group.

Arguments: the framework or the folder of a communicator, and the rank that dies at the end.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kept.errors import GroupError, RankMissing
from kept.training.group.open import find_group
from tests.distributed.child import RANK, WORLD, join, leave, report

if TYPE_CHECKING:
    from kept.training.group.base import Group

LIMIT = 20.0


class Communicator:
    """As little of mpi4py's as kept uses, over files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._calls = folder, 0

    def Get_rank(self) -> int:  # noqa: N802
        return RANK

    def Get_size(self) -> int:  # noqa: N802
        return WORLD

    def allgather(self, value: object) -> list[object]:
        self._calls += 1
        new = self._folder / f"new-{RANK}"
        new.write_bytes(pickle.dumps(value))
        new.rename(self._file(RANK))
        while not all(self._file(rank).exists() for rank in range(WORLD)):
            time.sleep(0.01)
        return [pickle.loads(self._file(rank).read_bytes()) for rank in range(WORLD)]

    def bcast(self, value: object, root: int = 0) -> object:
        return self.allgather(value)[root]

    def _file(self, rank: int) -> Path:
        return self._folder / f"{self._calls}-{rank}"


def main(framework: str, victim: int) -> None:
    if "/" in framework:
        group = find_group(Communicator(Path(framework)), LIMIT)
    else:
        strategy = join(framework)
        if strategy is None:
            group = find_group(None, LIMIT)
        else:
            assert find_group(None, LIMIT) is None  # outside of its scope
            with strategy.scope():
                group = find_group(None, LIMIT)
    report(place=[group.rank, group.size], label=group.transport.label)
    report(messages=messages(group))
    report(side_by_side=side_by_side(group), missing=missing(group))
    report(speed_us=speed(group))
    survive(group, victim)


def messages(group: Group) -> list[object]:
    channel = group.channel("messages")
    large = "é" * 700_000 + str(group.rank)  # of several parts
    found = [channel.gather([group.rank, None, 0.1], "ranks")]
    found += [channel.broadcast(n if group.is_first else None, "numbers") for n in range(5)]
    found.append([len(one) for one in channel.gather(large, "large values")])
    found.append(len(channel.broadcast(large if group.is_first else None, "a large value")))
    channel.collect(large, "large values of the others")
    return [*found, channel.gather("", "the last one")]


def side_by_side(group: Group) -> list[object]:
    """One thread waits while another one exchanges messages."""
    waits, works = group.channel("waits"), group.channel("works")
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(waits.gather(group.rank, "late values")))
    if not group.is_first:
        thread.start()  # it waits until the first rank sends, which is after all of the others
    works.gather("a", "values beside a wait")
    if group.is_first:
        thread.start()
    thread.join(LIMIT)
    return found


def missing(group: Group) -> list[object]:
    """The first rank waits for what the last one does not send."""
    channel = group.channel("missing")
    found: list[object] = []
    if group.is_first:
        start = time.monotonic()
        try:
            channel.collect("", "what the last rank does not send", 0.2)
        except RankMissing as error:
            found = [list(error.ranks), str(error), time.monotonic() - start]
    elif group.rank < group.size - 1:
        channel.collect("", "")
    group.channel("missing-done").gather("", "all")
    return found


def speed(group: Group) -> float:
    channel = group.channel("speed")
    start = time.monotonic()
    for _ in range(50):
        channel.gather(group.rank, "ranks")
    return (time.monotonic() - start) / 50 * 1e6


def survive(group: Group, victim: int) -> None:
    """A rank dies; the others wait for it no longer than their limit."""
    channel = group.channel("death")
    start = time.monotonic()
    try:
        channel.collect("", "the others, which have read all messages")
        if victim == RANK:
            os.kill(os.getpid(), signal.SIGKILL)
        channel.gather("alive", "the last words of all ranks", 1.0)
    except GroupError as error:
        ranks = list(getattr(error, "ranks", ()))
        report(death=[ranks, time.monotonic() - start, str(error)])
    if victim != 0 and WORLD > 2:  # the first process has the messages, so it ends last
        with suppress(RankMissing):
            group.channel("end").collect("", "the others that live", 5.0)
    leave()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

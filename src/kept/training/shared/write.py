"""The first rank's side of a save whose bytes several processes hold; see exchange.py."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

from isal.isal_zlib import crc32

from kept.digest import digest
from kept.errors import SaveFailed
from kept.store.content.shared_file import Part, Stored
from kept.training.shared.exchange import Message, Outgoing, answer_of, answers, requests, wanted
from kept.training.shared.ranges import HeldRanges

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from kept.training.group.announce import SharedSave
    from kept.training.group.base import Channel
    from kept.training.snapshot.shards import Piece


class Sharded(Protocol):
    """A snapshot of which this process has some pieces."""

    def own_pieces(self) -> list[tuple[Piece, memoryview]]:
        """Return this rank's pieces with their bytes, in order."""

    def foreign(self) -> list[tuple[memoryview, Piece]]:
        """Return the memory of the other ranks' pieces, in order."""


class SharedWrite:
    """One save, written by the first rank; see Holders. Call end, whatever happens."""

    def __init__(self, save: SharedSave) -> None:
        self._save = save
        self._channel = self._own(requests(save))
        self._requests = Outgoing(self._channel)
        self._answers = {rank: answers(save, rank) for rank in save.group.others}
        self._ranges: HeldRanges | None = None
        self._places: dict[int, dict[str, int]] = {}  # of each rank's pieces, by digest
        self._attempt = 0
        self._wanted: Channel | None = None

    def ranges(self, snapshot: Sharded) -> HeldRanges:
        """Digest this rank's pieces, and return what is known of all.

        Raises SaveFailed or RankMissing.
        """
        if self._ranges is None:
            known = [*self._digested(snapshot), *self._received(snapshot.foreign())]
            self._ranges = HeldRanges(known, self)
            # The others follow one save after the other, so each has ended those before this one.
            self._save.group.delete_before(self._channel, self._series)
        return self._ranges

    def ask(self, wanted_of: Mapping[int, Sequence[str]], condemned: Collection[str]) -> None:
        """See Holders."""
        self._attempt += 1
        named = {
            str(rank): [self._places[rank][name] for name in names]
            for rank, names in wanted_of.items()
        }
        self._wanted = self._own(wanted(self._save, self._attempt))
        self._wanted.send({"pieces": named, "condemned": sorted(condemned)})
        self._requests.send(store=self._attempt)

    def answers(self) -> Iterator[Stored]:
        """See Holders."""
        for rank in self._save.group.others:
            answer = self._answer(rank, "the weights of a save to be stored")
            places = {name: (blob, offset) for name, blob, offset in answer["places"]}
            yield Stored(places, answer["stored"], answer["written"])
        if self._wanted is not None:
            self._wanted.sent_all_read()

    def at_work(self) -> None:
        """See Holders."""
        self._requests.at_work()

    def end(self, reference: str, error: BaseException | None = None) -> None:
        """Give the outcome to the other ranks: the version, or why there is none."""
        outcome = {"done": reference} if error is None else {"failed": str(error)}
        with contextlib.suppress(OSError, RuntimeError):  # then the others find this rank missing
            self._requests.send(**outcome)

    @property
    def _series(self) -> str:
        """The series of what the saves of this fit ask for."""
        return f"{self._save.fit}/requests"

    def _own(self, channel: Channel) -> Channel:
        return self._save.group.in_series(self._series, channel)

    def _digested(self, snapshot: Sharded) -> Iterator[tuple[Part, int]]:
        for _, data in snapshot.own_pieces():
            yield Part(digest(data), data), crc32(data)
            self.at_work()

    def _received(self, foreign: list[tuple[memoryview, Piece]]) -> Iterator[tuple[Part, int]]:
        """Yield the other ranks' pieces as they are known; raises SaveFailed or RankMissing."""
        for rank in self._save.group.others:
            given = self._answer(rank, "the digests of the weights of a save")["pieces"]
            expected = [(memory, piece) for memory, piece in foreign if piece.owner == rank]
            if [one[:3] for one in given] != [[*piece[:3]] for _, piece in expected]:
                raise SaveFailed(
                    f"rank {rank} has other pieces of the weights than rank 0 expects: expected "
                    f"{len(expected)}, found {len(given)}. All processes must have the same model."
                )
            self._places[rank] = {one[3]: place for place, one in enumerate(given)}
            for (memory, _), (*_, name, crc) in zip(expected, given, strict=True):
                yield Part(name, memory, rank), crc

    def _answer(self, rank: int, what: str) -> Message:
        return answer_of(self._answers[rank], rank, what, self._requests, self._attempt)

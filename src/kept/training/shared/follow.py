"""The side of the ranks after the first, of a save whose bytes they hold; see exchange.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isal.isal_zlib import crc32

from kept.digest import digest
from kept.errors import SaveFailed
from kept.store.content.packing import store_chunks
from kept.training.shared.exchange import Outgoing, answers, failure, requests, wanted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kept.bucket.base import Bucket
    from kept.training.group.announce import SharedSave
    from kept.training.shared.exchange import Message
    from kept.training.snapshot.shards import Piece

_PATIENCE = 2  # times the limit of the first rank, which has to find out who is silent


def follow_save(
    save: SharedSave, pieces: Sequence[tuple[Piece, memoryview]], bucket: Bucket
) -> str:
    """Store what the store lacks of this rank's pieces; return the version, as the first names it.

    bucket is that of the first rank's store. Raises SaveFailed if there is no version, or if the
    first rank is silent: then it is not known whether there is one.
    """
    followed = _Followed(save, bucket)
    try:
        followed.give(pieces)
    except Exception as error:  # noqa: BLE001 - the first rank raises it
        followed.fail(error)
    return followed.until_end()


def fail_save(save: SharedSave, error: Exception) -> str:
    """Have the first rank end a save that this rank cannot follow; raises SaveFailed."""
    followed = _Followed(save, None)
    followed.fail(error)
    return followed.until_end()


class _Followed:
    def __init__(self, save: SharedSave, bucket: Bucket | None) -> None:
        self._save, self._bucket = save, bucket
        self._requests = requests(save)
        self._answers = Outgoing(answers(save, save.group.rank))
        self._pieces: list[tuple[str, memoryview]] = []
        self._is_ready = False  # whether the first rank knows the pieces

    def give(self, pieces: Sequence[tuple[Piece, memoryview]]) -> None:
        """Digest the pieces, and give what the first rank needs to know of them."""
        known = []
        for piece, data in pieces:
            name = digest(data)
            self._pieces.append((name, data))
            known.append([*piece[:3], name, crc32(data)])
            self._answers.at_work()
        self._answers.send(pieces=known)
        self._is_ready = True

    def fail(self, error: Exception) -> None:
        """Give an error in place of the pieces."""
        self._answers.send(**failure(error))

    def until_end(self) -> str:
        """Do what the first rank asks for, until it ends the save; raises SaveFailed."""
        while not {"done", "failed"} & (request := self._next()).keys():
            if "store" in request and self._is_ready:
                attempt = request["store"]
                try:
                    self._store(attempt)
                except Exception as error:  # noqa: BLE001 - the first rank raises it
                    self._answers.send(attempt=attempt, **failure(error))
        self._answers.all_read()
        if "failed" in request:
            raise SaveFailed(f"rank 0 could not save the checkpoint: {request['failed']}")
        return str(request["done"])

    def _next(self) -> Message:
        limit = self._save.group.seconds * _PATIENCE
        try:
            found: Message = self._requests.receive("the end of a save", limit)
        except (OSError, RuntimeError) as error:
            raise SaveFailed(
                f"{error}. Whether the checkpoint is a version is not known here; kept ls shows it"
            ) from error
        return found

    def _store(self, attempt: int) -> None:
        limit = self._save.group.seconds * _PATIENCE
        asked = wanted(self._save, attempt).receive("what a save needs", limit)
        own = asked["pieces"].get(str(self._save.group.rank), [])
        assert self._bucket is not None
        condemned = frozenset(asked["condemned"])
        found = store_chunks(self._bucket, self._reported(own), condemned)
        places = [[name, *place] for name, place in found.places.items()]
        self._answers.send(
            attempt=attempt, places=places, stored=found.bytes_new, written=[*found.written]
        )

    def _reported(self, own: list[int]) -> Iterator[tuple[str, memoryview]]:
        """Yield pieces by their indexes, with a sign of progress before each."""
        for index in own:
            self._answers.at_work()
            yield self._pieces[index]

"""A process that saves one file after the other as one of two ranks: python -m, see main."""

from __future__ import annotations

import os
import sys
import time

import numpy as np

import kept
from kept.digest import digest
from kept.store.content.chunking import LARGEST, tensors
from kept.store.content.file_source import MemoryFile
from kept.training.group.announce import SharedSave
from kept.training.group.base import Group
from kept.training.shared.follow import follow_save
from kept.training.shared.write import SharedWrite
from kept.training.snapshot.shards import Piece
from tests.helpers import arrays, keras

SECONDS = 1.0  # limit of each wait


class Folder:
    """A transport: a file for each key."""

    label = "a folder"

    def __init__(self, folder: str, rank: int) -> None:
        self.folder, self.rank, self.size = folder, rank, 2

    def _path(self, key: str) -> str:
        return os.path.join(self.folder, key.replace("/", "+"))

    def set(self, key: str, value: bytes) -> None:
        with open(self._path(key) + "~", "wb") as file:
            file.write(value)
        os.rename(self._path(key) + "~", self._path(key))

    def get(self, key: str, seconds: float) -> bytes:
        end = time.monotonic() + seconds
        while not os.path.exists(self._path(key)):
            if time.monotonic() > end:
                raise TimeoutError(key)
            time.sleep(0.002)
        with open(self._path(key), "rb") as file:
            return file.read()

    def delete(self, key: str) -> None:
        os.unlink(self._path(key))


def content(number: int) -> bytes:
    """Return the file of a save."""
    return keras(arrays(number, a=3_000_000, b=400_000, c=100_000, d=200, e=1_500_000), number % 60)


class Held:
    """What a rank has of a file: every second piece."""

    def __init__(self, number: int, rank: int) -> None:
        self.data = np.frombuffer(bytearray(content(number)), np.uint8)
        found = tensors(MemoryFile("f", [self.data.data]))
        ranges = [(n, t.start) for n, t in enumerate(found) if t.stop - t.start >= 64 * 1024]
        self.pieces = [Piece(n, s, found[n].stop, i % 2) for i, (n, s) in enumerate(ranges)]
        assert all(piece.size <= LARGEST for piece in self.pieces)
        self.rank = rank
        for piece in self.pieces:
            if piece.owner != rank:
                self.data[piece.start : piece.stop] = 0

    def own_pieces(self):
        return [(p, self._memory(p)) for p in self.pieces if p.owner == self.rank]

    def foreign(self):
        return [(self._memory(p), p) for p in self.pieces if p.owner != self.rank]

    def _memory(self, piece: Piece) -> memoryview:
        return self.data[piece.start : piece.stop].data


def main(store: str, messages: str, rank: int, first: int, count: int) -> None:
    """Save files first to first + count - 1; print the version after each."""
    group = Group(Folder(messages, rank), seconds=SECONDS)
    opened = kept.open_store(store)
    print("ready", flush=True)
    for number in range(first, first + count):
        held, save = Held(number, rank), SharedSave(group, 1, number)
        if rank:
            print(follow_save(save, held.own_pieces(), opened.bucket), flush=True)
            continue
        shared = SharedWrite(save)
        try:
            file = shared.ranges(held).file("m.keras", [held.data.data])
            metadata = {"number": number, "digest": digest(content(number))}
            version = opened.log_artifact("m", [file], metadata=metadata)
        except Exception as error:
            shared.end("", error)
            raise
        shared.end(version.reference)
        print(version.reference, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))

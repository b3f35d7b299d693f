"""A transfer counts bytes, and a second attempt counts them again."""

from __future__ import annotations

import kept
from kept.bucket.memory import MemoryBucket
from kept.bucket.transfer import Transfer
from kept.store.log.log import Logs
from tests.helpers import Wrapped, write


def test_spared_bytes_lower_the_total():
    reports = []
    transfer = Transfer(10, lambda *report: reports.append(report))
    transfer.moved(3)
    transfer.spared(4)
    transfer.moved(5)  # with headers
    assert reports == [(3, 10), (3, 6), (8, 8)]


def test_a_second_attempt_starts_at_its_position():
    reports = []
    transfer = Transfer(10, lambda *report: reports.append(report))
    transfer.moved(2)
    start = transfer.position
    transfer.moved(5)
    transfer.spared(3)
    transfer.rewind(start)
    transfer.moved(1)
    assert reports == [(2, 10), (7, 10), (7, 7), (3, 10)]


def test_parts_are_for_a_watched_transfer():
    assert Transfer(1, print, in_parts=True).in_parts
    assert not Transfer(1, None, in_parts=True).in_parts


def test_a_commit_that_a_gc_interrupts_counts_from_the_start(tmp_path):
    class Fenced(Wrapped):
        """The fence of a gc comes between the blobs and the record, once."""

        is_fenced = False

        def put_many(self, items, transfer=None):
            self.inner.put_many(items, transfer)
            if not self.is_fenced:
                self.is_fenced = True
                Logs(self.inner).of("m").append({"event": "alias", "aliases": {}, "gc": "a"})

    store, reports = kept.Store(Fenced(MemoryBucket())), []
    path = write(tmp_path / "f", b"x" * 1000)
    store.log_artifact("m", path, progress=lambda *report: reports.append(report))
    # Of the second attempt the store has all bytes already.
    assert reports == [(1016, 1016), (0, 0)]
    assert store.verify().ok

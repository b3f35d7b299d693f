import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.store.log import pages
from kept.store.log.log import View
from kept.store.log.records import number_of


@pytest.fixture
def store():
    """A new store in memory."""
    return kept.Store(MemoryBucket())


@pytest.fixture
def small_pages(monkeypatch):
    """Pages of 4 and of 16 records, so that short logs have them."""
    monkeypatch.setattr(pages, "PAGE", 4)
    monkeypatch.setattr(pages, "BIG_PAGE", 16)


@pytest.fixture
def file(tmp_path):
    """Make a file for log_artifact out of its bytes."""

    def make(data: bytes, name: str = "model.bin"):
        path = tmp_path / "given" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return make


@pytest.fixture
def read_items(monkeypatch):
    """The numbers of the items of logs that were read since; clear it to begin."""
    found: list[int] = []
    read = View._items

    def noting(self, *, folded):
        for item in read(self, folded=folded):
            found.append(number_of(item))
            yield item

    monkeypatch.setattr(View, "_items", noting)
    return found

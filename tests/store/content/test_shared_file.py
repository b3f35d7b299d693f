"""Files of which other processes hold parts."""

import pytest

from kept.bucket.memory import MemoryBucket
from kept.digest import digest
from kept.errors import InvalidPath
from kept.store.content.chunking import LARGEST, cut, tensors
from kept.store.content.file_source import MemoryFile
from kept.store.content.packing import store_chunks
from kept.store.content.shared_file import Part, SharedFile, Stored
from kept.store.store import Store
from tests.helpers import arrays, keras

SMALL = 64 * 1024  # bytes of the smallest tensor that is cut among processes
SIZES = [SMALL, SMALL + 4, 2 * SMALL - 8, 1024 * 1024, LARGEST - 4, LARGEST, LARGEST + 4]


class Others:
    """Other processes, which store what they are asked for."""

    def __init__(self, bucket, chunks):
        self.bucket, self.chunks, self.asked = bucket, chunks, []

    def ask(self, wanted, condemned):
        self.asked.append(wanted)
        names = [name for some in wanted.values() for name in some]
        chunks = [(name, self.chunks[name]) for name in names]
        self._stored = store_chunks(self.bucket, chunks, condemned)

    def answers(self):
        return [self._stored]

    def at_work(self):
        pass


def pieces(data):
    """Return the pieces of the large tensors in a file."""
    return [
        (start, min(start + LARGEST, tensor.stop))
        for tensor in tensors(MemoryFile("f", [data]))
        if tensor.stop - tensor.start >= SMALL
        for start in range(tensor.start, tensor.stop, LARGEST)
    ]


def shared(data, ranges, bucket, *, zeros=True):
    """Return a file whose ranges are in other processes, and these."""
    parts, here, chunks = [], 0, {}
    view = memoryview(data)
    for number, (start, stop) in enumerate(ranges):
        name = digest(view[start:stop])
        chunks[name] = view[start:stop]
        memory = memoryview(bytes(stop - start)) if zeros else view[start:stop]
        parts += [view[here:start], Part(name, memory, holder=1 + number % 2)]
        here = stop
    others = Others(bucket, chunks)
    return SharedFile("m.keras", [*parts, view[here:]], others), others


@pytest.mark.parametrize("first", [4, 4096, SMALL - 4])
def test_each_piece_of_a_tensor_is_a_chunk(first):
    sizes = {f"v{number:02}": size for number, size in enumerate([first, *SIZES, first, SMALL])}
    data = keras(arrays(1, **sizes))
    found = pieces(data)
    assert len(found) == len(SIZES) + 2
    assert {*found} <= {*cut(MemoryFile("f", [data]))}


def test_a_version_of_several_processes_is_that_of_one():
    data = keras(arrays(2, a=SMALL, b=5_000_000, c=400, d=200_000))
    store, other = Store(MemoryBucket()), Store(MemoryBucket())
    file, others = shared(data, pieces(data), store.bucket)
    version = store.log_artifact("m", [file])
    expected = other.log_artifact("m", [MemoryFile("m.keras", [data])])
    assert version.digest == expected.digest
    assert version.bytes_new == expected.bytes_new
    assert len(others.asked) == 1
    assert store.verify().problems == []


def test_nothing_is_asked_for_that_the_store_has():
    data = keras(arrays(2, a=SMALL, b=5_000_000))
    store = Store(MemoryBucket())
    store.log_artifact("m", [MemoryFile("m.keras", [data])])
    file, others = shared(data, pieces(data), store.bucket)
    assert store.log_artifact("m", [file]).index == 0
    assert others.asked == []


def test_a_remote_part_that_is_no_chunk_is_refused():
    data = keras(arrays(3, a=500_000))
    ((start, stop),) = pieces(data)
    store = Store(MemoryBucket())
    file, _ = shared(data, [(start + 4, stop)], store.bucket)
    with pytest.raises(InvalidPath, match=r"in the process of rank 1, .* one chunk only"):
        store.log_artifact("m", [file])
    assert store.artifacts() == []


def test_remote_bytes_cannot_be_read():
    data = keras(arrays(3, a=500_000))
    ((start, stop),) = pieces(data)
    file, _ = shared(data, [(start, stop)], MemoryBucket())
    assert bytes(file.read(0, start)) == data[:start]
    assert bytes(file.read(stop, len(data))) == data[stop:]
    for begin, end in [(start, start + 1), (0, len(data)), (stop - 1, stop + 1)]:
        with pytest.raises(InvalidPath, match="rank 1"):
            file.read(begin, end)
    with pytest.raises(InvalidPath, match="rank 1"):
        file.parts  # noqa: B018


def test_what_a_process_stores_is_packed_as_ever():
    bucket = MemoryBucket()
    chunks = [(digest(bytes([n]) * 100), bytes([n]) * 100) for n in range(3)]
    large = bytes(2_000_000)
    stored = store_chunks(bucket, [*chunks, (digest(large), large)], frozenset())
    assert isinstance(stored, Stored)
    assert len([*bucket.keys("blobs/")]) == 2
    assert stored.bytes_new == 2_000_300
    again = store_chunks(bucket, chunks, frozenset())
    assert (again.bytes_new, again.places) == (0, {n: stored.places[n] for n, _ in chunks})

"""What a hostile or damaged blob can make a reader take: a few times 64 MiB, and never a hang."""

import itertools
import os
import random

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from kept.bucket.local import LocalBucket
from kept.bucket.memory import MemoryBucket
from kept.digest import digest
from kept.errors import Damaged
from kept.store.blobs import blob as blobs
from kept.store.blobs.blob import HEADER, blob_key, is_whole, raw_form, read_blob, read_head
from kept.store.blobs.codec import code_blob
from kept.store.blobs.header import DELTA, MOST, Section, pack_head
from tests.helpers import Wrapped, finish, start


def put(bucket, raw, sections, base=None):
    """Store a coded blob; return its name."""
    bucket.put(blob_key(digest(raw)), code_blob(raw, sections, base, 1))
    return digest(raw)


class Counting(Wrapped):
    """Notes how many bytes each get has returned."""

    def __init__(self, inner):
        super().__init__(inner)
        self.lengths = []

    def get(self, *args):
        found = self.inner.get(*args)
        self.lengths.append(len(found))
        return found


@pytest.mark.parametrize("size", [MOST + 1, 3 * MOST])
def test_of_more_than_a_blob_may_have_no_more_is_read(tmp_path, size):
    """The file is sparse: nothing takes its length from the disk."""
    bucket = Counting(LocalBucket(tmp_path))
    bucket.put(blob_key("0" * 64), [HEADER.pack(b"kept", 0, size)])
    os.truncate(tmp_path / blob_key("0" * 64), size + HEADER.size)
    with pytest.raises(Damaged, match="at most"):
        read_blob(bucket, "0" * 64)
    assert max(bucket.lengths) <= MOST + HEADER.size + 1
    with pytest.raises(Damaged, match=f"at most {MOST} raw bytes, found {size}"):
        read_head(bucket, "0" * 64)
    assert not is_whole(bucket, "0" * 64, least=5)


def test_a_blob_of_exactly_as_much_as_it_may_have():
    bucket, raw = MemoryBucket(), bytes(MOST)
    bucket.put(blob_key(digest(raw)), raw_form([raw]))
    assert read_blob(bucket, digest(raw)) == raw
    assert read_head(bucket, digest(raw)).raw_size == MOST
    put(bucket, raw, [Section(MOST, 4)])
    assert read_blob(bucket, digest(raw), lent=True) == raw


def test_a_chain_longer_than_what_is_held_is_read_again(monkeypatch):
    bucket = Counting(MemoryBucket())
    raws = [np.full(500, n, "<u4").tobytes() for n in range(6)]
    put(bucket, raws[0], [Section(2000, 4)])
    for old, new in itertools.pairwise(raws):
        put(bucket, new, [Section(2000, 4, DELTA)], (digest(old), old))
    monkeypatch.setattr(blobs, "_HELD", 0)
    assert read_blob(bucket, digest(raws[-1])) == raws[-1]
    assert len(bucket.lengths) == 12


def test_a_chain_that_changes_before_it_is_read_again(monkeypatch):
    """A compactor stores the base in another form between the two reads."""
    bucket = MemoryBucket()
    old, new = (np.full(500, n, "<u4").tobytes() for n in range(2))
    put(bucket, old, [Section(2000, 4)])
    put(bucket, new, [Section(2000, 4, DELTA)], (digest(old), old))
    monkeypatch.setattr(blobs, "_HELD", 0)
    get, reads = bucket.get, []

    def race(key, *range):
        found = get(key, *range)
        reads.append(key)
        if len(reads) == 2:
            bucket.put(blob_key(digest(old)), raw_form([old]))
        return found

    bucket.get = race
    assert read_blob(bucket, digest(new)) == new
    assert len(reads) > 3


def test_sections_of_one_kind_are_decoded_in_batches(monkeypatch):
    from kept.store.blobs import codec

    monkeypatch.setattr(codec, "_BATCH", 100)
    chance = random.Random(1)
    base = chance.randbytes(4000)
    sizes = [chance.randrange(0, 60) * 4 for _ in range(30)]
    sections = [
        Section(
            size, chance.choice([1, 2, 4]), (f := chance.choice([0, DELTA, DELTA | 2])), f and 8
        )
        for size in sizes
    ]
    raw, bucket = chance.randbytes(sum(sizes)), MemoryBucket()
    bucket.put(blob_key(digest(base)), raw_form([base]))
    assert read_blob(bucket, put(bucket, raw, sections, (digest(base), base))) == raw


@st.composite
def forged(draw):
    """A coded blob whose fields say anything, and a frame of any content."""
    raw_size = draw(st.sampled_from([0, 1, 8, 100, 5000, MOST, MOST + 1, 2**40, 2**63, 2**64 - 1]))
    content = draw(st.binary(max_size=200)) * draw(st.integers(0, 30))
    writes_size = draw(st.booleans())
    frame = zstandard.ZstdCompressor(write_content_size=writes_size).compress(content)
    frame = draw(
        st.sampled_from(
            [frame, frame[:-1], frame * 2, b"", frame[4:], b"\x50\x2a\x4d\x18\x00\x00\x00\x00"]
        )
    )
    numbers = st.sampled_from([0, 1, 2, 7, 8, 100, 5000, len(content), 2**31, 2**32 - 1])
    sections = [
        Section(draw(numbers), draw(st.integers(0, 9)), draw(st.integers(0, 5)), draw(numbers))
        for _ in range(draw(st.integers(0, 4)))
    ]
    if draw(st.booleans()):
        raw_size = len(content)
        sections = [
            Section(len(content), 1, draw(st.integers(0, 3)), 0),
            *sections[: draw(st.integers(0, 1))],
        ]
    base = draw(st.sampled_from([None, digest(b"base" * 10), "ab" * 32]))
    head = bytearray(pack_head(raw_size, 0, base, sections, len(frame)))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(head) - 1))
        head[at] = draw(st.integers(0, 255))
    return bytes(head) + frame


@given(forged())
@settings(deadline=None, max_examples=400)
def test_a_forged_blob_is_damaged_and_nothing_else(stored):
    bucket = MemoryBucket()
    base = b"base" * 10
    bucket.put(blob_key(digest(base)), raw_form([base]))
    name = digest(b"x")
    bucket.put(blob_key(name), [stored])
    for lent in (False, True):
        with pytest.raises(Damaged):
            read_blob(bucket, name, lent=lent)
    is_whole(bucket, name, 100)


LIMITED = """
import sys
from kept.bucket.local import LocalBucket
from kept.digest import digest
from kept.store.blobs.blob import blob_key, read_blob
from kept.store.blobs.codec import code_blob
from kept.store.blobs.header import DELTA, MOST, Section
import numpy as np

def put(raw, sections, base=None):
    name = digest(raw)
    bucket.put(blob_key(name), code_blob(raw, sections, base and (base, read_blob(bucket, base))))
    return name

bucket, count = LocalBucket(sys.argv[1]), int(sys.argv[2])
sections = [Section(MOST // count, 4, DELTA, n * (MOST // count)) for n in range(count)]
chance = np.random.default_rng(0)
name = None
for step in range(int(sys.argv[3])):
    raw = chance.integers(0, 256, MOST, np.uint8)
    raw[::8] = 0  # so that the coded form is a little smaller than the raw one
    raw = raw.data
    name = put(raw, sections if name else [Section(MOST, 4)], name)
print(name)
"""
READ = """
import resource, sys
from kept.bucket.local import LocalBucket
from kept.digest import digest
from kept.store.blobs.blob import read_blob
from kept.store.blobs import codec
resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))
raw = read_blob(LocalBucket(sys.argv[1]), sys.argv[2], lent=True)
print(digest(raw))
"""


@pytest.mark.parametrize(
    ("sections", "chain"),
    [(1, 1), pytest.param(1, 4, marks=pytest.mark.integration),
     pytest.param(65_536, 3, marks=pytest.mark.integration)],
)  # fmt: skip
def test_the_largest_blobs_are_read_in_half_a_gigabyte(tmp_path, sections, chain):
    [name] = finish(start(LIMITED, tmp_path, sections, chain))
    assert finish(start(READ, tmp_path, name)) == [name]

"""Coded blobs: any bytes come back bit by bit, and damage is never taken for them."""

import contextlib
import itertools
import random
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kept.bucket.memory import MemoryBucket
from kept.digest import digest
from kept.errors import Damaged
from kept.store.blobs.blob import (
    LONGEST_CHAIN,
    bases_lock,
    bases_of,
    blob_key,
    is_whole,
    raw_form,
    read_blob,
    read_head,
)
from kept.store.blobs.codec import code_blob
from kept.store.blobs.header import BIG_ENDIAN, DELTA, HEAD_SIZE, MOST, Section

KINDS = [(width, order) for width in (1, 2, 4, 8) for order in (0, BIG_ENDIAN)]


@st.composite
def coded(draw):
    """Raw bytes, a base, and sections that cut the raw bytes in any way."""
    raw, sections, base = b"", [], draw(st.binary(max_size=600))
    for _ in range(draw(st.integers(0, 6))):
        width, order = draw(st.sampled_from(KINDS))
        count = draw(st.integers(0, 40))
        data = draw(st.binary(min_size=count * width, max_size=count * width))
        offset = draw(st.integers(0, len(base)))
        is_delta = draw(st.booleans()) and offset + len(data) <= len(base)
        if is_delta and draw(st.booleans()):  # what training does: close to what it was
            old = np.frombuffer(base, "u1", len(data), offset)
            data = (old + np.uint8(draw(st.integers(0, 2)))).tobytes()
        flags = order | (DELTA if is_delta else 0)
        sections.append(Section(len(data), width, flags, offset if is_delta else 0))
        raw += data
    return raw, sections, base


def put(bucket, raw, sections, base=None):
    """Store a coded blob, and its base raw if that is missing; return its name."""
    if base is not None and not is_whole(bucket, digest(base), len(base)):
        bucket.put(blob_key(digest(base)), raw_form([base]))
    stored = code_blob(raw, sections, (digest(base), base) if base is not None else None, 1)
    bucket.put(blob_key(digest(raw)), stored)
    return digest(raw)


@given(coded())
@settings(deadline=None, max_examples=300)
def test_any_bytes_in_any_sections(example):
    raw, sections, base = example
    bucket = MemoryBucket()
    if raw == base:
        base += b"x"
    name = put(bucket, raw, sections, base)
    assert read_blob(bucket, name) == raw
    assert is_whole(bucket, name, len(raw))
    assert not is_whole(bucket, name, len(raw) + 10_000)
    assert bases_of(bucket, name) == (digest(base),)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2", ">f2", "<i8", ">u4", "u1"])
def test_every_bit_of_every_dtype(dtype):
    """NaN payloads, denormals, infinities and -0 are bits like any other."""
    bits = np.random.default_rng(0).integers(0, 256, 200_000 * np.dtype(dtype).itemsize, np.uint8)
    patterns = (0x7FC00001, 0xFFC0BEEF, 0x7F800001, 1, 0x80000000, 0x7F800000, 0, 0xFFFFFFFF)
    special = np.frombuffer(struct.pack("<8I", *patterns), "u1")
    new, old = np.concatenate([special, bits]), np.concatenate([bits, special])
    order = BIG_ENDIAN if dtype[0] == ">" else 0
    kind = Section(new.nbytes, np.dtype(dtype).itemsize, order | DELTA, 0)
    bucket = MemoryBucket()
    assert read_blob(bucket, put(bucket, new.tobytes(), [kind], old.tobytes())) == new.tobytes()
    assert (
        read_blob(bucket, put(bucket, old.tobytes(), [kind._replace(flags=order)])) == old.tobytes()
    )


def test_floats_need_less_room_and_small_steps_far_less():
    rng = np.random.default_rng(0)
    old = rng.normal(0, 0.02, 500_000).astype("f4")
    new = (old + rng.normal(0, 1e-4, 500_000)).astype("f4")
    for order in "<>":
        flags = BIG_ENDIAN if order == ">" else 0
        a, b = (array.astype(f"{order}f4").tobytes() for array in (new, old))
        size = sum(map(len, code_blob(a, [Section(len(a), 4, flags)])))
        assert size < 0.86 * len(a)
        section = Section(len(a), 4, flags | DELTA)
        assert sum(map(len, code_blob(a, [section], (digest(b), b)))) < 0.66 * len(a)


def chain(bucket, length):
    """Blobs of which each is stored as its difference to the one before; their raw bytes."""
    raws = [np.full(500, n, "<u4").tobytes() for n in range(length)]
    put(bucket, raws[0], [Section(2000, 4)])
    for old, new in itertools.pairwise(raws):
        put(bucket, new, [Section(2000, 4, DELTA)], old)
    return raws


def test_a_base_may_have_a_base():
    bucket = MemoryBucket()
    raws = chain(bucket, LONGEST_CHAIN)
    names = [digest(raw) for raw in raws]
    assert read_blob(bucket, names[-1]) == raws[-1]
    assert is_whole(bucket, names[-1], 2000)
    assert bases_of(bucket, names[-1]) == tuple(names[-2::-1])
    assert bases_of(bucket, names[0]) == bases_of(bucket, "0" * 64) == ()


def test_what_is_lent_is_right_and_stands_in_memory_that_is_used_again():
    bucket = MemoryBucket()
    raws = chain(bucket, 4)
    places = set()
    for raw in raws * 3:
        lent = read_blob(bucket, digest(raw), lent=True)
        assert lent == raw
        places.add(np.frombuffer(lent, np.uint8).ctypes.data)
    assert len(places) == 2
    own = [read_blob(bucket, digest(raw)) for raw in raws]
    assert read_blob(bucket, digest(raws[0]), lent=True) == raws[0]
    assert own == raws


def test_a_chain_without_end_is_refused():
    bucket = MemoryBucket()
    raws = chain(bucket, LONGEST_CHAIN + 1)
    with pytest.raises(Damaged, match="chain of bases is longer"):
        read_blob(bucket, digest(raws[-1]))
    assert not is_whole(bucket, digest(raws[-1]), 2000)
    put(bucket, raws[0], [Section(2000, 4, DELTA)], raws[3])  # a circle
    with pytest.raises(Damaged, match="chain of bases is longer"):
        read_blob(bucket, digest(raws[3]))
    assert set(bases_of(bucket, digest(raws[3]))) == {digest(raw) for raw in raws[:3]}


def test_a_missing_base_is_named_with_what_needs_it():
    bucket = MemoryBucket()
    raws = chain(bucket, 3)
    bucket.delete(blob_key(digest(raws[0])))
    with pytest.raises(Damaged) as error:
        read_blob(bucket, digest(raws[2]))
    assert all(blob_key(digest(raw)) in str(error.value) for raw in (raws[0], raws[2]))
    assert not is_whole(bucket, digest(raws[2]), 2000)


def test_a_blob_that_is_stored_anew_while_its_base_goes_is_still_read():
    bucket = MemoryBucket()
    old, new = chain(bucket, 2)
    get = bucket.get

    def race(key, *range):
        found = get(key, *range)
        if key == blob_key(digest(new)):  # between this read and that of the base
            bucket.put(key, raw_form([new]))
            bucket.delete(blob_key(digest(old)))
        return found

    bucket.get = race
    assert read_blob(bucket, digest(new)) == new


def test_a_head_is_read_while_the_blob_is_stored_anew():
    """Size and head are two questions; the blob may be given another form between them."""
    bucket, raw = MemoryBucket(), bytes(5000)
    name, size = put(bucket, raw, [Section(5000)]), bucket.size
    coded = bucket.get(blob_key(name))
    bucket.put(blob_key(name), raw_form([raw]))

    def race(key):
        found = size(key)
        bucket.put(key, [coded])
        return found

    bucket.size = race
    assert read_head(bucket, name).codec == 1


def test_no_damage_is_taken_for_good_bytes():
    """Every byte of a coded blob changed, and the blob cut at every place."""
    bucket = MemoryBucket()
    base = np.arange(300, dtype="<u4").tobytes()
    raw = np.arange(5, 305, dtype="<u4").tobytes()
    name = put(bucket, raw, [Section(800, 4, DELTA, 0), Section(400, 2)], base)
    stored = bucket.get(blob_key(name))
    chance = random.Random(0)
    for at in range(len(stored)):
        for new in {chance.randrange(256), stored[at] ^ 1, stored[at] ^ 0x80} - {stored[at]}:
            bucket.put(blob_key(name), [stored[:at], bytes([new]), stored[at + 1 :]])
            _read_or_refuse(bucket, name, raw)
        bucket.put(blob_key(name), [stored[:at]])
        assert not is_whole(bucket, name, len(raw))
        with pytest.raises(Damaged):
            read_blob(bucket, name)


def _read_or_refuse(bucket, name, raw):
    with contextlib.suppress(Damaged):
        assert read_blob(bucket, name) == raw  # a byte that means nothing, such as the generation


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_heads_that_ask_for_too_much(data):
    """What a damaged head says bounds nothing: sizes, counts, offsets and the frame are checked."""
    bucket, raw = MemoryBucket(), bytes(5000)
    name = put(bucket, raw, [Section(5000)], b"base" * 2000)
    stored = bytearray(bucket.get(blob_key(name)))
    big = data.draw(st.integers(0, 2**64 - 1))
    at, size = data.draw(st.sampled_from([(8, 8), (24, 4), (64, 4), (72, 8)]))
    stored[at : at + size] = (big % 2 ** (8 * size)).to_bytes(size, "little")
    bucket.put(blob_key(name), [stored])
    tracemalloc.start()
    _read_or_refuse(bucket, name, raw)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_bomb_of_zeros_does_not_go_off():
    """A frame that says, and holds, a gigabyte."""
    import zstandard

    bomb = zstandard.ZstdCompressor().compress(bytes(200_000_000))
    bucket, raw = MemoryBucket(), bytes(5000)
    name = put(bucket, raw, [Section(5000)])
    head = bytearray(bucket.get(blob_key(name))[: HEAD_SIZE + 16])
    for claimed in (5000, MOST, 200_000_000):
        head[8:16] = claimed.to_bytes(8, "little")
        head[16:24] = (len(head) + len(bomb)).to_bytes(8, "little")
        head[64:68] = claimed.to_bytes(4, "little")
        bucket.put(blob_key(name), [bytes(head), bomb])
        tracemalloc.start()
        with pytest.raises(Damaged):
            read_blob(bucket, name)
        assert tracemalloc.get_traced_memory()[1] < 2 * MOST
        tracemalloc.stop()


@pytest.mark.parametrize("flip", [4, 5, 17])
def test_a_head_of_another_blob_is_no_head(flip):
    bucket, raw = MemoryBucket(), bytes(5000)
    name = put(bucket, raw, [Section(5000)])
    stored = bytearray(bucket.get(blob_key(name)))
    stored[flip] ^= 0xF0
    bucket.put(blob_key(name), [stored])
    if flip == 5:  # the generation is for writers only
        assert read_head(bucket, name).generation == 0xF1
    else:
        with pytest.raises(Damaged):
            read_head(bucket, name)


def test_one_at_a_time_gives_blobs_bases():
    bucket = MemoryBucket()
    with bases_lock(bucket) as first, bases_lock(bucket) as second:
        assert (first, second) == (True, False)
    with bases_lock(bucket) as third:
        assert third

import io
import random
import tempfile
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kept.digest import digest
from kept.store.content.chunking import BLOCK, LARGEST, SMALL, cut
from kept.store.content.file_source import DiskFile, MemoryFile
from tests.helpers import arrays, hdf5, keras

MIB = 1 << 20


def chunks(data: bytes) -> list[bytes]:
    """Cut bytes as a file, checking that the cuts cover it."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        ranges = cut(DiskFile("m", file.fileno()))
    assert cut(MemoryFile("m", [data[:1000], data[1000:]])) == ranges
    assert b"".join(data[start:stop] for start, stop in ranges) == data
    assert all(stop > start for start, stop in ranges)
    assert [start for start, _ in ranges] + [len(data)] == [0, *(stop for _, stop in ranges)]
    return [data[start:stop] for start, stop in ranges]


@pytest.mark.parametrize("size", [0, 1, SMALL, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_other_files_are_cut_into_blocks(size):
    assert [len(chunk) for chunk in chunks(bytes(size))] == [BLOCK] * (size // BLOCK) + (
        [size % BLOCK] if size % BLOCK else []
    )


@pytest.mark.parametrize("form", [hdf5, keras])
def test_a_big_tensor_is_a_chunk_of_its_own(form):
    tensors = arrays(1, dense=MIB, tiny=40, dense_1=2 * MIB, dense_2=SMALL)
    found = chunks(form(tensors))
    for name in ("dense", "dense_1", "dense_2"):
        assert tensors[name].tobytes() in found
    assert len(found) < 12


def test_a_huge_tensor_is_cut_to_the_same_pieces_wherever_it_lies():
    tensor = arrays(1, x=2 * LARGEST + 400)["x"]
    for others in ({}, arrays(2, a=100_000)):
        found = chunks(hdf5({**others, "huge": tensor}))
        pieces = [tensor.tobytes()[at : at + LARGEST] for at in range(0, tensor.nbytes, LARGEST)]
        assert set(pieces) <= set(found)


@pytest.mark.parametrize("form", [hdf5, keras])
def test_small_tensors_share_chunks(form):
    found = chunks(form(arrays(1, **{f"t{n}": 64 for n in range(500)})))
    assert len(found) <= sum(map(len, found)) / SMALL + 5


@pytest.mark.parametrize("form", [hdf5, keras])
def test_a_change_in_one_tensor_changes_its_chunk_only(form):
    sizes = {f"layer_{n}": 50_000 + 400 * n for n in range(12)}
    before, after = arrays(1, **sizes), arrays(1, **sizes)
    after["layer_5"] = after["layer_5"] + 1
    old = {digest(chunk) for chunk in chunks(form(before))}
    changed = [chunk for chunk in chunks(form(after)) if digest(chunk) not in old]
    assert after["layer_5"].tobytes() in changed
    # In a zip the checksum of the member changes too: in front of it and in the directory.
    rest = [len(chunk) for chunk in changed if chunk != after["layer_5"].tobytes()]
    assert len(rest) <= (0 if form is hdf5 else 2)
    assert sum(rest) < 8 * 1024


@pytest.mark.parametrize("form", [hdf5, keras])
def test_a_change_in_a_small_tensor_drags_little_along(form):
    sizes = {f"layer_{n}": 200 for n in range(300)}
    before, after = arrays(1, **sizes), arrays(1, **sizes)
    after["layer_5"] = after["layer_5"] + 1
    old = set(chunks(form(before)))
    assert sum(len(chunk) for chunk in chunks(form(after)) if chunk not in old) <= 4 * SMALL


def test_a_date_changes_no_tensor():
    tensors = arrays(1, a=MIB, b=MIB)
    old, new = set(chunks(keras(tensors, 1))), chunks(keras(tensors, 2))
    assert {tensor.tobytes() for tensor in tensors.values()} <= old
    assert sum(len(chunk) for chunk in new if chunk not in old) < 8 * 1024


def odd_hdf5():
    """Every layout that HDF5 has, and links that lead in circles."""
    buffer = io.BytesIO()
    big = np.arange(60_000, dtype="f4").reshape(300, 200)
    with h5py.File(buffer, "w") as file:
        file["contiguous"] = big
        file["empty"] = h5py.Empty("f4")
        file["none"] = np.zeros((0, 3))
        file["scalar"] = 3.5
        file["text"] = "text of variable length"
        file.create_dataset("chunked", data=big, chunks=(64, 64))
        file.create_dataset("compressed", data=big, chunks=(100, 200), compression="gzip")
        file.create_dataset("never_written", (1000, 1000), "f4")
        file.create_dataset("partly_written", (1000, 1000), "f4", chunks=(100, 100))[:50, :50] = 1
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((10,))
        h5py.h5d.create(file.id, b"compact", h5py.h5t.NATIVE_FLOAT, space, compact)
        file["hard"] = file["contiguous"]
        file["soft"] = h5py.SoftLink("/nowhere")
        file["outside"] = h5py.ExternalLink("other.h5", "/x")
        file.create_group("group")["up"] = file["/"]
        file["type"] = np.dtype("f8")
        file.attrs["keras_version"] = "3.15.1"
    return buffer.getvalue(), big.tobytes()


def test_every_layout_of_hdf5():
    data, big = odd_hdf5()
    found = chunks(data)
    assert big in found
    assert sum(len(chunk) == 64 * 64 * 4 for chunk in found) >= 16
    assert sum(chunk == np.ones((50, 50), "f4").tobytes() for chunk in found) == 0


def zipped(compression, **members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_members_of_other_zips_are_chunks():
    first, second = random.Random(1).randbytes(50_000), random.Random(2).randbytes(6_000)
    found = chunks(zipped(zipfile.ZIP_STORED, first=first, second=second, small=b"x"))
    assert {first, second} <= set(found)
    chunks(zipped(zipfile.ZIP_DEFLATED, first=first, weights=hdf5(arrays(1, a=MIB))))
    chunks(zipped(zipfile.ZIP_STORED, inner=zipped(zipfile.ZIP_STORED, first=first)))
    chunks(b"#! a zip with something in front of it" + zipped(zipfile.ZIP_STORED, first=first))


@pytest.mark.parametrize("magic", [b"", b"PK\x03\x04", b"PK\x05\x06", b"\x89HDF\r\n\x1a\n"])
@given(rest=st.binary(max_size=300))
def test_garbage_is_covered(magic, rest):
    chunks(magic + rest)


SAMPLES = [odd_hdf5()[0], hdf5(arrays(1, a=9_000, b=100)), keras(arrays(1, a=9_000, b=100))]


@given(st.sampled_from(SAMPLES), st.floats(0, 1))
@settings(max_examples=100)
def test_truncated_files_are_covered(data, share):
    chunks(data[: int(len(data) * share)])


@given(st.sampled_from(SAMPLES[1:]), st.data())
@settings(max_examples=300)
def test_damaged_files_are_covered(data, draw):
    damaged = bytearray(data)
    tail = range(max(0, len(data) - 260), len(data))  # where a zip has its directory
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.sampled_from(tail) | st.integers(0, len(data) - 9))
        new = draw.draw(
            st.sampled_from([b"\xff" * 8, b"\x00" * 8]) | st.binary(min_size=1, max_size=8)
        )
        damaged[at : at + len(new)] = new
    chunks(bytes(damaged))


def test_a_zip64_offset_beyond_every_file():
    data = bytearray(zipped(zipfile.ZIP_STORED, first=bytes(5000)))
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 42 : entry + 46] = b"\xff" * 4  # the offset is in the extra field, it says
    data[entry + 30 : entry + 32] = (12).to_bytes(2, "little")
    name_end = entry + 46 + len("first")
    extra = b"\x01\x00\x08\x00" + (1 << 63).to_bytes(8, "little")
    data[name_end:name_end] = extra
    end = data.rindex(b"PK\x05\x06")
    data[end + 12 : end + 16] = (end - entry).to_bytes(4, "little")
    assert len(chunks(bytes(data))) >= 1


@pytest.mark.parametrize("claim", [4_000, 9_000, 1 << 31])
def test_members_that_claim_the_bytes_of_others(claim):
    data = bytearray(zipped(zipfile.ZIP_STORED, a=bytes(5000), b=b"b" * 5000))
    first = data.index(b"PK\x01\x02")
    for entry in (first, data.index(b"PK\x01\x02", first + 1)):
        data[entry + 20 : entry + 28] = claim.to_bytes(4, "little") * 2
    assert chunks(bytes(data))

"""Compacting: every version stays bit by bit what it was, at every moment, in less room."""

import contextlib
import itertools
import random
import threading
import time
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import Damaged
from kept.store.blobs.blob import (
    RAW,
    bases_lock,
    bases_of,
    blob_key,
    raw_form,
    read_blob,
    read_head,
)
from kept.store.blobs.header import BIG_ENDIAN, DELTA, HEAD_SIZE, parse_sections
from kept.store.compact.compactor import GENERATIONS, Compactor
from tests.helpers import Wrapped, finish, hdf5, keras, start, tree, write


def steps(count, shapes=(300_000, 40_000, 1_000, 64), dtype="f4", step=1e-4, seed=0):
    """Versions of a model: tensors that move a little from one to the next."""
    rng = np.random.default_rng(seed)
    now = {f"t{n}": rng.normal(0, 0.02, size) for n, size in enumerate(shapes)}
    for _ in range(count):
        yield {name: tensor.astype(dtype) for name, tensor in now.items()}
        now = {name: t + rng.normal(0, step, len(t)) for name, t in now.items()}


def logged(store, path, contents, name="m"):
    for content in contents:
        store.log_artifact(name, write(path, content))
    return [path.name, list(contents)]


def blobs(store, reference):
    return list(dict.fromkeys(chunk.blob for chunk in store.version(reference).manifest.chunks()))


def heads(store, reference):
    return {blob: read_head(store.bucket, blob) for blob in blobs(store, reference)}


def check(store, contents, tmp_path, name="m"):
    for index, content in enumerate(contents):
        target = tmp_path / "out" / f"{name}{index}"
        assert list(tree(store[f"{name}:v{index}"].download(target)).values()) == [content]
    assert store.verify().ok


@pytest.mark.parametrize("form", [keras, hdf5], ids=["keras", "h5"])
def test_versions_need_less_room_and_stay_the_same(store, tmp_path, form):
    path = tmp_path / ("m.keras" if form is keras else "m.weights.h5")
    contents = [form(tensors) for tensors in steps(12)]
    logged(store, path, contents)
    done = store.compact()
    assert done.blobs >= 24
    assert done.after < 0.72 * done.before
    check(store, contents, tmp_path)
    before = {item.key: item.size for item in store.bucket.items("blobs/")}
    again = store.compact()
    assert again.blobs <= 1  # a few hundred bytes, perhaps, that did not get shorter
    assert {item.key: item.size for item in store.bucket.items("blobs/")} == before


@pytest.mark.parametrize("smallest", [False, True])
def test_how_many_forms_a_version_needs(store, tmp_path, smallest):
    """Two at the most, with smallest three, and some need one."""
    bases = (0, 1, 1, 1, 2, 2, 2, 2) if smallest else (0, 1, 1, 1, 1, 1, 1, 1)
    logged(store, tmp_path / "m.h5", [hdf5(tensors) for tensors in steps(20, step=1e-7)])
    entries = [version.record for version in store.versions("m")]
    Compactor(store.bucket, smallest=smallest).compact("m", entries)
    generations = Counter()
    for index in range(20):
        for blob, head in heads(store, f"m:v{index}").items():
            assert len(bases_of(store.bucket, blob)) == bases[head.generation]
            if head.raw_size > 1_000_000:
                generations[head.generation] += 1
    assert set(generations) == set(range(GENERATIONS))
    assert generations[0] == 3


def test_a_small_gain_ends_a_series_early(store, tmp_path):
    logged(store, tmp_path / "m.h5", [hdf5(tensors) for tensors in steps(8, step=1e-3)])
    store.compact()
    large = [next(iter(heads(store, f"m:v{n}").values())).generation for n in range(8)]
    assert max(large) < GENERATIONS - 1


def test_what_does_not_get_shorter_stays_raw(store, file):
    noise = np.random.default_rng(0).bytes(3_000_000)
    store.log_artifact("m", file(noise))
    assert store.compact().blobs == 0
    assert [head.codec for head in heads(store, "m:v0").values()] == [RAW]


def test_new_versions_go_on_where_the_last_compacting_ended(store, tmp_path):
    contents = [hdf5(tensors) for tensors in steps(6)]
    for n, content in enumerate(contents):
        store.log_artifact("m", write(tmp_path / "m.h5", content))
        store.compact("m")
        assert (
            max(head.generation for head in heads(store, f"m:v{n}").values()) == min(n, 4) % 5 or n
        )
    check(store, contents, tmp_path)


def test_deltas_are_found_also_where_the_path_has_an_epoch(store, tmp_path):
    for n, tensors in enumerate(steps(3)):
        store.log_artifact("m", write(tmp_path / f"model-{n:02}.keras", keras(tensors, n)))
    store.compact()
    assert max(head.generation for head in heads(store, "m:v2").values()) == 2
    assert store.verify().ok


def test_dedup_finds_coded_blobs(store, tmp_path):
    first, second = steps(2)
    logged(store, tmp_path / "m.h5", [hdf5(first), hdf5(second)])
    store.compact()
    before = {item.key: item.size for item in store.bucket.items("blobs/")}
    third = second | {"t1": first["t1"] + 1}
    added = store.log_artifact("m", write(tmp_path / "m.h5", hdf5(third)))
    store.log_artifact("other", write(tmp_path / "m.h5", hdf5(second)))
    new = {item.key: item.size for item in store.bucket.items("blobs/")}
    assert before.items() <= new.items()  # none was stored again in raw form
    assert added.bytes_new < third["t1"].nbytes + 10_000
    check(store, [hdf5(first), hdf5(second), hdf5(third)], tmp_path)


def test_a_coded_blob_that_was_cut_short_is_stored_anew(store, tmp_path):
    contents = [hdf5(tensors) for tensors in steps(2)]
    logged(store, tmp_path / "m.h5", contents)
    store.compact()
    for blob in blobs(store, "m:v1"):
        store.bucket.put(blob_key(blob), [store.bucket.get(blob_key(blob))[:100]])
    assert not store.verify().ok
    store.log_artifact("again", write(tmp_path / "m.h5", contents[1]))
    assert store["again:v0"].verify()
    target = store["again:v0"].download(tmp_path / "out")
    assert (target / "m.h5").read_bytes() == contents[1]


def test_a_lost_base_is_named_and_does_not_spoil_what_comes(store, tmp_path):
    contents = [hdf5(tensors) for tensors in steps(3)]
    logged(store, tmp_path / "m.h5", contents[:2])
    store.compact()
    large = blobs(store, "m:v0")[0]
    store.bucket.delete(blob_key(large))
    with pytest.raises(Damaged, match=blob_key(large)):
        store["m:v1"].verify()
    logged(store, tmp_path / "m.h5", contents[2:])
    store.compact()
    assert store["m:v2"].verify()


def test_a_base_never_gets_a_base_and_no_blob_is_its_own(store, tmp_path):
    """The same two states in opposite order in two artifacts: neither ends in a circle."""
    first, second = (hdf5(tensors) for tensors in steps(2))
    logged(store, tmp_path / "m.h5", [first, second, first, second], "a")
    logged(store, tmp_path / "m.h5", [second, first], "b")
    for name in ("b", "a"):
        store.compact(name)
        for blob in {*blobs(store, "a:v0"), *blobs(store, "a:v1")}:
            assert blob not in bases_of(store.bucket, blob)
    check(store, [first, second, first, second], tmp_path, "a")
    check(store, [second, first], tmp_path, "b")


def test_a_base_that_was_stored_raw_again_stays_a_base(store, tmp_path):
    """An older kept, which knows no coded blobs, stores a blob raw that is the base of another."""
    first, second = (hdf5(tensors) for tensors in steps(2))
    logged(store, tmp_path / "m.h5", [second], "later")
    logged(store, tmp_path / "m.h5", [first, second], "m")
    store.compact("m")
    for blob in blobs(store, "m:v0"):
        store.bucket.put(blob_key(blob), raw_form([read_blob(store.bucket, blob)]))
    logged(store, tmp_path / "m.h5", [first], "later")  # now second comes before first
    store.compact()
    check(store, [first, second], tmp_path, "m")
    check(store, [second, first], tmp_path, "later")


def test_without_the_lock_no_blob_gets_a_base(store, tmp_path):
    logged(store, tmp_path / "m.h5", [hdf5(tensors) for tensors in steps(3)])
    with bases_lock(store.bucket):
        store.compact()
    found = {head for n in range(3) for head in heads(store, f"m:v{n}").values()}
    assert {head.base for head in found} == {None}
    assert RAW not in {head.codec for head in found if head.raw_size > 10_000}


class Remote(Wrapped):
    """Object storage, which counts how often each key is read as a whole."""

    is_remote = True

    def __init__(self, inner):
        super().__init__(inner)
        self.read = Counter()

    def get(self, key, *part):
        self.read[key] += not part or part[1] > HEAD_SIZE
        return self.inner.get(key, *part)

    def locked(self, name, *, wait=False):
        return contextlib.nullcontext(False)


def test_in_object_storage_no_blob_is_read_to_be_a_base(tmp_path):
    store = kept.Store(Remote(MemoryBucket()))
    logged(store, tmp_path / "m.h5", [hdf5(tensors) for tensors in steps(4)])
    store.bucket.read.clear()
    store.compact()
    large = [blob_key(b) for n in range(4) for b, h in heads(store, f"m:v{n}").items()
             if h.raw_size > 1_000_000]  # fmt: skip
    assert {store.bucket.read[key] for key in large} == {1}


def test_what_is_known_of_a_version_is_not_kept_for_ever(store, tmp_path, monkeypatch):
    from kept.store.compact import compactor

    alive, most = weakref.WeakSet(), []

    class Layout(compactor.Layout):
        def __init__(self, *args):
            super().__init__(*args)
            alive.add(self)
            most.append(len(alive))

    monkeypatch.setattr(compactor, "Layout", Layout)
    logged(store, tmp_path / "m.h5", [hdf5(tensors) for tensors in steps(3 * GENERATIONS)])
    store.compact()
    assert len(most) == 3 * GENERATIONS
    assert max(most) <= GENERATIONS + 1


def test_in_object_storage_no_blob_gets_a_base(tmp_path):
    store = kept.Store(Remote(MemoryBucket()))
    contents = [hdf5(tensors) for tensors in steps(3)]
    logged(store, tmp_path / "m.h5", contents)
    done = store.compact()
    assert 0.8 * done.before < done.after < 0.9 * done.before
    assert {head.base for n in range(3) for head in heads(store, f"m:v{n}").values()} == {None}
    check(store, contents, tmp_path)


def rewrite(store, n):
    """Do what a writer that knows no coded blobs does: store blobs raw again."""
    for blob in blobs(store, f"m:v{n % 6}"):
        store.bucket.put(blob_key(blob), raw_form([read_blob(store.bucket, blob)]))


def at_once(*works):
    with ThreadPoolExecutor(len(works)) as pool:
        for started in [pool.submit(work) for work in works]:
            started.result()


def test_while_others_read_write_and_compact(tmp_path):
    location, done = tmp_path / "store", threading.Event()
    contents = [hdf5(tensors) for tensors in steps(6, (50_000, 3_000))]
    logged(kept.open_store(location), tmp_path / "m.h5", contents)

    def read(store, n):
        target = tmp_path / f"read{threading.get_ident()}"
        assert list(tree(store[f"m:v{n % 6}"].download(target)).values()) == [contents[n % 6]]

    def until_done(work):
        store = kept.open_store(location)
        for n in itertools.count():
            work(store, n)
            if done.is_set():
                return

    def compact():
        try:
            for _ in range(5):
                at_once(kept.open_store(location).compact, kept.open_store(location).compact)
        finally:
            done.set()

    others = [lambda work=work: until_done(work) for work in (read, read, rewrite)]
    at_once(compact, *others)
    check(kept.open_store(location), contents, tmp_path)


_COMPACT = """
import sys, kept
store = kept.open_store(sys.argv[1])
print("ready", flush=True)
store.compact()
"""


def test_killed_at_any_moment_every_version_exists(tmp_path):
    location = tmp_path / "store"
    contents = [hdf5(tensors) for tensors in steps(10, (100_000,) * 4)]
    store = kept.open_store(location)
    logged(store, tmp_path / "m.h5", contents)
    chance = random.Random(0)
    for _ in range(4):
        process = start(_COMPACT, location)
        process.stdout.readline()
        time.sleep(chance.random() * 0.3)
        process.kill()
        process.communicate()
        assert store.verify().ok
    finish(start(_COMPACT, location))
    check(store, contents, tmp_path)


DTYPES = ["<f4", ">f4", "<f2", ">f2", "<f8", ">f8", "<i4", ">i8", "u1", "?", "<c8", ">c16",
          ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn]  # fmt: skip


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_any_array_of_any_dtype_through_a_file_and_a_store(tmp_path_factory, data):
    """NaN payloads, denormals, big-endian, no elements, Fortran order, odd sizes."""
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=40))
    size = int(np.prod(shape)) * dtype.itemsize
    seed = data.draw(st.integers(0, 2**32 - 1))
    bits = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    arrays = []
    for _ in range(3):
        array = bits.copy().view(dtype).reshape(shape) if size else np.zeros(shape, dtype)
        arrays.append(np.asfortranarray(array) if data.draw(st.booleans()) else array)
        bits[:: data.draw(st.integers(1, 9))] += np.uint8(data.draw(st.integers(0, 3)))
    folder = tmp_path_factory.mktemp("any")
    store = kept.Store(MemoryBucket())
    contents = []
    for array in arrays:
        with h5py.File(folder / "m.h5", "w") as file:
            file.create_dataset("x", data=array.view("u1") if dtype.kind == "b" else array)
            file.create_dataset("other", data=np.arange(2000, dtype="<f4") + len(contents))
        contents.append((folder / "m.h5").read_bytes())
        store.log_artifact("m", folder / "m.h5")
    store.compact()
    for index, content in enumerate(dict.fromkeys(contents)):
        out = store[f"m:v{index}"].download(folder / f"out{index}")
        assert (out / "m.h5").read_bytes() == content
    assert store.verify().ok


def special(dtype, count):
    """Bit patterns that arithmetic does not keep: NaNs with payloads, denormals, -0, infinities."""
    width = dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize
    bits, ones = 8 * width, (1 << (8 * width)) - 1
    exponent = ones >> 1 & ~(ones >> (1 + {16: 5, 32: 8, 64: 11}.get(bits, 4)))
    patterns = [exponent | 1, exponent | ones >> 4 & 0x2A, ones, 1, 2, 1 << bits - 1, exponent, 0]
    order = "big" if dtype.byteorder == ">" else "little"
    data = b"".join(pattern.to_bytes(width, order) for pattern in patterns)
    return np.frombuffer(data * (count * dtype.itemsize // len(data)), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_arithmetic_would_change_is_coded_and_comes_back(store, tmp_path, dtype):
    """In Fortran order, with a tensor without elements beside it; each version a little changed."""
    dtype, contents = np.dtype(dtype), []
    for version in range(3):
        array = special(dtype, 60_000).copy()
        array.view("u1")[:: 997 * dtype.itemsize] += np.uint8(version)
        array = np.asfortranarray(array.reshape(300, -1))
        assert array.flags.f_contiguous
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file.create_dataset("x", data=array.view("u1") if dtype.kind == "b" else array)
            file.create_dataset("none", data=array[:, :0] if dtype.kind != "b" else [])
        contents.append((tmp_path / "m.h5").read_bytes())
        store.log_artifact("m", tmp_path / "m.h5")
    store.compact()
    found = heads(store, "m:v2")
    blob = max(found, key=lambda name: found[name].raw_size)
    assert found[blob].codec != RAW
    sections = parse_sections(found[blob], store.bucket.get(blob_key(blob)), 2**40, "")
    tensor = max(sections, key=lambda section: section.size)
    assert tensor.width == (dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize)
    is_big = dtype.byteorder == ">"
    assert bool(tensor.flags & BIG_ENDIAN) == is_big
    check(store, contents, tmp_path)


def test_bfloat16_is_coded_as_numbers_of_two_bytes(store, tmp_path):
    rng = np.random.default_rng(0)
    now = rng.normal(0, 0.05, 600_000).astype("f4")
    for _ in range(2):
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file.create_dataset("w", data=now.astype(ml_dtypes.bfloat16))
        store.log_artifact("m", tmp_path / "m.h5")
        now += rng.normal(0, 1e-5, now.size).astype("f4")
    store.compact()
    found = heads(store, "m:v1")
    blob = max(found, key=lambda name: found[name].raw_size)
    head, stored = found[blob], store.bucket.get(blob_key(blob))
    [section] = parse_sections(head, stored, 2**40, "")
    assert (section.width, section.flags) == (2, DELTA)
    assert len(stored) < 0.1 * head.raw_size


def test_it_may_end_between_any_two_steps(store, tmp_path):
    contents = [hdf5(tensors) for tensors in steps(3)]
    logged(store, tmp_path / "m.h5", contents)
    for most in range(1, 12):
        compactor = Compactor(store.bucket)
        work = compactor.steps("m", [version.record for version in store.versions("m")])
        for step, _ in enumerate(work):
            if step == most:
                work.close()
                assert store.verify().ok
                break
    check(store, contents, tmp_path)

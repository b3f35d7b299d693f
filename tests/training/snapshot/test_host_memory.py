"""The memory of large buffers."""

from __future__ import annotations

import ctypes
import mmap

import keras
import numpy as np
import pytest

from kept.training.snapshot.copying import LARGE
from kept.training.snapshot.host_memory import empty_array, empty_memory
from kept.training.snapshot.snapshot import Snapshot
from tests.helpers import finish, start


class Mallinfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


@pytest.fixture
def allocated():
    """A function that returns how many bytes malloc has given away in this thread's heap."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        pytest.skip("needs glibc 2.33 or later")
    libc.mallinfo2.restype = Mallinfo

    def allocated():
        info = libc.mallinfo2()
        return info.uordblks + info.hblkhd

    return allocated


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_large_buffers_take_no_room_in_the_heap_where_training_steps_find_theirs(dtype, allocated):
    variables = [keras.Variable(np.full((2048, 1024), n), dtype=dtype) for n in range(4)]
    for variable in variables:  # JAX makes them on threads of its own, which may be late
        assert float(variable[-1, -1]) < len(variables)
    snapshot = Snapshot(keras.backend.backend())
    before = allocated()
    snapshot.reserve(variables)
    snapshot.touch()
    assert allocated() - before < LARGE <= snapshot.size / 8
    snapshot.take(variables)
    taken = [keras.ops.convert_to_numpy(snapshot.value(variable)) for variable in variables]
    assert [set(np.unique(value).tolist()) for value in taken] == [{0.0}, {1.0}, {2.0}, {3.0}]


@pytest.mark.parametrize("size", [0, 1, LARGE - 1, LARGE, LARGE + 1])
def test_an_array_of_any_size_can_be_filled_to_its_end(size):
    array = empty_array((size, 1), np.int8)
    array[...] = 7
    assert array.shape == (size, 1)
    assert array.sum(dtype=int) == 7 * size


@pytest.mark.parametrize("lacking", ["huge pages", "mappings of one's own"])
def test_memory_comes_also_where_the_system_lacks_something(lacking, monkeypatch):
    if lacking == "huge pages":
        monkeypatch.setattr(mmap, "MADV_HUGEPAGE", 999, raising=False)  # the kernel refuses it
    else:
        monkeypatch.delattr(mmap, "MAP_PRIVATE")
    memory = empty_memory(LARGE)
    memory[-1] = 7
    assert (len(memory), memory[0], memory[-1]) == (LARGE, 0, 7)


FORKED = """
import os
from kept.training.snapshot.host_memory import empty_memory
memory = empty_memory(8)
child = os.fork()
if not child:
    memory[0] = 7
    os._exit(0)
os.waitpid(child, 0)
print(memory[0])
"""


def test_what_a_forked_process_writes_stays_with_it():
    """A worker of a data loader has a copy of its parent's callback."""
    assert finish(start(FORKED)) == ["0"]

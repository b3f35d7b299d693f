"""Copying variables out of the frameworks."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from kept.training.snapshot import frameworks
from kept.training.snapshot.snapshot import Snapshot
from tests.helpers import finish, start
from tests.training.snapshot.test_copying import cut


@pytest.fixture
def in_pieces(monkeypatch):
    """Pieces of 8 bytes; yields those that are copied by threads."""
    monkeypatch.setattr(frameworks, "LARGE", 8)
    return cut(monkeypatch, 8)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_a_snapshot_copies_straight_out_of_the_framework_s_memory(dtype, in_pieces):
    """What is copied from is the variable's own memory, seen twice, and not a copy of it."""
    name = keras.backend.backend()
    variable = keras.Variable(np.arange(50).reshape(5, 10), trainable=False, dtype=dtype)
    snapshot = Snapshot(name)
    snapshot.take([variable])
    taken = np.asarray(keras.ops.convert_to_numpy(snapshot.value(variable)), "float32")
    assert taken.tolist() == np.arange(50).reshape(5, 10).tolist()
    if name == "torch":
        again = frameworks._bytes(variable.value)
    else:
        ((_, again),) = frameworks.framework(name)._parts(variable, snapshot.value(variable))
    assert all(np.shares_memory(source, again) for _, source in in_pieces)
    assert len(in_pieces) == -(-again.nbytes // 8)


SHARDED = """
import sys, keras, numpy as np
from keras.distribution import DeviceMesh, LayoutMap, ModelParallel
from kept.training.snapshot import copying, frameworks
from kept.training.snapshot.snapshot import Snapshot

layouts = LayoutMap(DeviceMesh((2, 2), ["batch", "model"], keras.distribution.list_devices()))
layouts["rows"], layouts["columns"] = ("model", None), (None, "model")
layouts["all"] = ("batch", "model")
keras.distribution.set_distribution(ModelParallel(layout_map=layouts))
copying.LARGE = 16
variables = [
    keras.Variable(np.arange(48.0).reshape(6, 8) + n, name=name, dtype=dtype)
    for n, name in enumerate(["rows", "columns", "all", "none"])
    for dtype in ("float32", "bfloat16")
]
parts = [{str(shard.index) for shard in v.value.addressable_shards} for v in variables[::2]]
assert [*map(len, parts)] == [2, 2, 4, 1]
if sys.argv[1:]:  # the CPUs stand for accelerators
    frameworks.is_on_accelerator = lambda _: True
snapshot = Snapshot("jax")
snapshot.take(variables)
for variable in variables:
    assert variable.value._npy_value is None, "JAX holds a copy of its own"
    assert np.array_equal(snapshot.value(variable), np.asarray(variable.value))
print("all")
"""


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="Keras shards arrays on JAX only")
@pytest.mark.parametrize("kind", [[], ["accelerators"]])
def test_arrays_on_several_devices_are_copied_shard_by_shard(monkeypatch, kind):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
    assert finish(start(SHARDED, *kind)) == ["all"]


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="JAX and TensorFlow wait by copying")
def test_every_device_that_is_copied_from_is_waited_for(monkeypatch):
    """Also where it is not the current one: keras.device("cuda:1"), say."""
    import torch

    begun, waited = [], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: waited.append(device))
    pairs = [(SimpleNamespace(value=OnDevice(number)), Buffer(begun)) for number in range(3)]
    frameworks.framework("torch").copy(pairs)
    assert begun == [False, True, True]
    assert sorted(waited) == ["cuda:1", "cuda:2"]


class OnDevice:
    """As much of a tensor as is asked before it is copied; the first one is on the host."""

    def __init__(self, number):
        self.is_cpu, self.nbytes = number == 0, 40
        self.is_cuda, self.device = number > 0, f"cuda:{number}" if number else "cpu"

    def detach(self):
        return self


class Buffer:
    def __init__(self, begun):
        self._begun = begun

    def copy_(self, value, *, non_blocking):
        self._begun.append(non_blocking)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="others have no such tensors")
def test_a_tensor_that_is_not_contiguous_is_copied_by_torch(in_pieces):
    import torch

    value = torch.arange(12.0).reshape(3, 4).T
    buffer = torch.empty(4, 3)
    frameworks.framework("torch").copy([(SimpleNamespace(value=value), buffer)])
    assert torch.equal(buffer, value)
    assert in_pieces == []

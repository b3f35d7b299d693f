"""The states of the random generators that training draws from.

Those of Python, NumPy and the framework are global. Keras's seed generators are variables. Those
of layers are variables of the model. The global one seeds operations without a seed of their own,
and is captured here.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np

from kept.digest import digest
from kept.training.keras_api import private_fit
from kept.training.resume import state_codec
from kept.training.resume.state_codec import fields, is_count, is_number

if TYPE_CHECKING:
    from collections.abc import Callable

_WORDS = 624  # of the generator of Python and NumPy
_TORCH_SIZE = 5056  # bytes of the state of torch's generator on the CPU
_NO_SEED = 87654321  # TensorFlow's answer if no global seed is set
_TF_SIZES = (3, 2)  # of the state of TensorFlow's generator: Philox, the default, and Threefry


def capture() -> dict[str, Any]:
    """Return the states of the generators of this process, by name."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, np.array(words, np.uint32), gauss],
        "numpy": [name, keys, int(position), int(has_gauss), float(cached)],
        "keras": _keras_seed(),
        "framework_name": keras.backend.backend(),
        "framework": _FRAMEWORKS[keras.backend.backend()].capture(),
        "torch": _capture_torch() if _uses_torch_beside() else None,
    }


def fingerprint() -> str:
    """Return a digest of the states; equal states have equal digests."""
    arrays: state_codec.Arrays = {}
    text = json.dumps(state_codec.encode(capture(), arrays))
    return digest(b"".join([text.encode(), *(array.tobytes() for array in arrays.values())]))


def restore(state: dict[str, Any]) -> None:
    """Set the generators to what capture returned, except those of a framework not in use."""
    if state["framework_name"] == keras.backend.backend():
        private_fit.set_global_seed(state["keras"])
        _FRAMEWORKS[keras.backend.backend()].restore(state["framework"])
    elif state["framework_name"] == "torch" and _uses_torch_beside():
        _restore_torch(state["framework"])
    if state.get("torch") is not None and "torch" in sys.modules:
        _restore_torch(state["torch"])
    # Last, because Keras draws the seed of a new generator from Python's.
    version, words, gauss = state["python"]
    random.setstate((version, tuple(int(word) for word in words), gauss))
    np.random.set_state(tuple(state["numpy"]))


def check(state: Any, framework: str) -> None:
    """Raise ValueError unless restore can set the generators to a state that was read.

    NumPy and torch check less: NumPy reads beyond its memory if the position is wrong.
    """
    found = fields(state, "random", str, "python", "numpy", "keras", "framework")
    state_codec.check(
        found["framework_name"], "framework_name", found["framework_name"] == framework
    )
    _check_python(found["python"])
    name, keys, position, has_gauss, cached = found["numpy"]
    is_right = name == "MT19937" and _is_array(keys, np.uint32, _WORDS) and is_number(cached)
    is_right &= is_count(position) and position <= _WORDS and has_gauss in (0, 1)
    state_codec.check(found["numpy"], "numpy", is_right)
    seed = found["keras"]
    state_codec.check(seed, "keras", seed is None or (_is_integers(seed) and seed.shape == (2,)))
    own = fields(found["framework"], "framework", str)
    if framework == "torch":
        _check_torch(own)
    elif framework == "tensorflow":
        _check_tensorflow(own)
    if found.get("torch") is not None:
        _check_torch(found["torch"])


def check_bytes(state: Any, name: str) -> None:
    """Raise ValueError unless a value can be the state of a generator of torch."""
    is_bytes = isinstance(state, np.ndarray) and state.dtype == np.uint8 and state.ndim == 1
    state_codec.check(state, name, is_bytes)
    if state.size == _TORCH_SIZE and "torch" in sys.modules:
        import torch

        try:
            torch.Generator().set_state(torch.tensor(state))
        except RuntimeError as error:
            raise ValueError(f"{name} is no state of a generator: {error}") from None


def is_seeded() -> bool:
    """Return whether TensorFlow has a global seed to shuffle by; True on other frameworks."""
    if keras.backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    return bool(tf.compat.v1.random.get_seed(0)[0] != _NO_SEED)


def _check_python(state: Any) -> None:
    version, words, gauss = state
    is_right = version == random.Random.VERSION and _is_array(words, np.uint32, _WORDS + 1)
    is_right = is_right and int(words[-1]) <= _WORDS and (gauss is None or is_number(gauss))
    state_codec.check(state, "python", is_right)


def _check_torch(state: Any) -> None:
    found = fields(state, "torch", str, "cpu", "cuda")
    check_bytes(found["cpu"], "cpu")
    state_codec.check(found["cpu"], "cpu", found["cpu"].size == _TORCH_SIZE)
    state_codec.check(found["cuda"], "cuda", isinstance(found["cuda"], list))
    for one in found["cuda"]:
        check_bytes(one, "cuda")


def _check_tensorflow(state: dict[str, Any]) -> None:
    seed = state["seed"]
    state_codec.check(seed, "seed", type(seed) is int and -(2**63) <= seed < 2**63)
    if "generator" in state:
        generator = state["generator"]
        is_right = any(_is_array(generator, np.int64, size) for size in _TF_SIZES)
        state_codec.check(generator, "generator", is_right)
    if "eager" in state:
        _check_python(state["eager"])


def _is_integers(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "iu"


def _is_array(value: Any, kind: type, size: int) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == kind and value.shape == (size,)


def _uses_torch_beside() -> bool:
    """Return whether torch is loaded beside another framework: its DataLoader draws from it."""
    return "torch" in sys.modules and keras.backend.backend() != "torch"


def _keras_seed() -> np.ndarray[Any, Any] | None:
    """Return a copy of the state of Keras's global seed generator, None if none exists."""
    seed = private_fit.global_seed()
    return None if seed is None else np.array(keras.ops.convert_to_numpy(seed))


def _capture_torch() -> dict[str, Any]:
    import torch

    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    states = torch.cuda.get_rng_state_all() if cuda else []
    return {
        "cpu": torch.get_rng_state().numpy(),
        "cuda": [state.numpy() for state in states],
    }


def _restore_torch(state: dict[str, Any]) -> None:
    import torch

    torch.set_rng_state(torch.tensor(state["cpu"]))
    # A run that continues with fewer devices does not need the states of the others.
    if torch.cuda.is_available():
        for device, value in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(torch.tensor(value), device)


def _capture_tensorflow() -> dict[str, Any]:
    """Return the states that TensorFlow shows; those of operations in a tf.function are hidden."""
    import tensorflow as tf

    found: dict[str, Any] = {"seed": int(tf.compat.v1.random.get_seed(0)[0])}
    with contextlib.suppress(RuntimeError):  # op determinism without a seed: no generator exists
        found["generator"] = tf.random.get_global_generator().state.numpy()
    eager = private_fit.tensorflow_seeds()
    if eager is not None:
        version, words, gauss = eager.getstate()
        found["eager"] = [version, np.array(words, np.uint32), gauss]
    return found


def _restore_tensorflow(state: dict[str, Any]) -> None:
    import tensorflow as tf

    restore_seed(state)
    if "generator" in state:
        # Assigned, because traced functions keep a reference to the generator's variable.
        tf.random.get_global_generator().state.assign(state["generator"])
    eager = private_fit.tensorflow_seeds()
    if "eager" in state and eager is not None:  # both are missing if no seed was set
        version, words, gauss = state["eager"]
        eager.setstate((version, tuple(int(w) for w in words), gauss))


def restore_seed(state: dict[str, Any]) -> None:
    """Set TensorFlow's global seed, if the state has one; state is capture's "framework".

    This also resets the counters of TensorFlow's operations.
    """
    import tensorflow as tf

    if state["seed"] != _NO_SEED:
        tf.random.set_seed(state["seed"])


class _Global(NamedTuple):
    """How to capture and restore a framework's own generators."""

    capture: Callable[[], dict[str, Any]]
    restore: Callable[[dict[str, Any]], None]


_FRAMEWORKS = {
    "jax": _Global(dict, lambda _: None),  # JAX has no global generator
    "torch": _Global(_capture_torch, _restore_torch),
    "tensorflow": _Global(_capture_tensorflow, _restore_tensorflow),
}
FRAMEWORKS = frozenset(_FRAMEWORKS)

"""The states of the random generators that training draws from.

Python's, NumPy's and the framework's are global. Keras's seed generators are variables: those of
layers travel with the model's variables, and the global one, which seeds operations that nobody
gave a seed, is taken here.
"""

from __future__ import annotations

import contextlib
import random
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

_GLOBAL_SEEDS = "global_seed_generator"
# What TensorFlow answers for "the seed of operations that have none" where nobody has set one.
_NO_SEED = 87654321


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


def restore(state: dict[str, Any]) -> None:
    """Set the generators to what capture returned; those of a framework not in use are let be."""
    if state["framework_name"] == keras.backend.backend():
        _restore_keras(state["keras"])
        _FRAMEWORKS[keras.backend.backend()].restore(state["framework"])
    elif state["framework_name"] == "torch" and _uses_torch_beside():
        _restore_torch(state["framework"])
    if state.get("torch") is not None and "torch" in sys.modules:
        _restore_torch(state["torch"])
    # Last, since making a generator for Keras draws its seed from Python's.
    version, words, gauss = state["python"]
    random.setstate((version, tuple(int(word) for word in words), gauss))
    np.random.set_state(tuple(state["numpy"]))


def is_seeded() -> bool:
    """Return whether TensorFlow's own shuffling can be repeated; True on other frameworks."""
    if keras.backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    return bool(tf.compat.v1.random.get_seed(0)[0] != _NO_SEED)


def _uses_torch_beside() -> bool:
    """Return whether torch is here though Keras does not use it: its DataLoader draws from it."""
    return "torch" in sys.modules and keras.backend.backend() != "torch"


def _keras_seed() -> Any:
    """Return the state of Keras's global seed generator, None if there is none. Private."""
    with contextlib.suppress(ImportError, AttributeError):
        from keras.src.backend.common import global_state

        generator = global_state.get_global_attribute(_GLOBAL_SEEDS)
        if generator is not None:
            return np.array(keras.ops.convert_to_numpy(generator.state))
    return None


def _restore_keras(seed: Any) -> None:
    with contextlib.suppress(ImportError, AttributeError):
        from keras.src.backend.common import global_state
        from keras.src.random import seed_generator

        if seed is None:
            global_state.set_global_attribute(_GLOBAL_SEEDS, None)
        else:
            seed_generator.global_seed_generator().state.assign(seed)


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
    # A run that goes on with fewer devices has no use for the states of the others.
    if torch.cuda.is_available():
        for device, value in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(torch.tensor(value), device)


def _capture_tensorflow() -> dict[str, Any]:
    """Return what can be had: operations inside a tf.function keep their state to themselves."""
    import tensorflow as tf

    found: dict[str, Any] = {"seed": int(tf.compat.v1.random.get_seed(0)[0])}
    with contextlib.suppress(RuntimeError):  # with op determinism there is none unless it is set
        found["generator"] = tf.random.get_global_generator().state.numpy()
    with contextlib.suppress(AttributeError, ImportError):
        version, words, gauss = _tensorflow_seeds().getstate()
        found["eager"] = [version, np.array(words, np.uint32), gauss]
    return found


def _restore_tensorflow(state: dict[str, Any]) -> None:
    import tensorflow as tf

    restore_seed(state)
    if "generator" in state:
        # Assigned, since functions that were traced hold on to the generator's variable.
        tf.random.get_global_generator().state.assign(state["generator"])
    if "eager" in state:  # not where nobody has set a seed
        version, words, gauss = state["eager"]
        with contextlib.suppress(AttributeError, ImportError):
            _tensorflow_seeds().setstate((version, tuple(int(w) for w in words), gauss))


def restore_seed(state: dict[str, Any]) -> None:
    """Set TensorFlow's global seed; capture's "framework" holds it, if somebody has set it.

    That also makes TensorFlow forget how much its operations have drawn.
    """
    import tensorflow as tf

    if state["seed"] != _NO_SEED:
        tf.random.set_seed(state["seed"])


def _tensorflow_seeds() -> random.Random:
    """Return what eager operations without a seed of their own draw it from. Private."""
    from tensorflow.python.eager import context

    generator: random.Random = context.context()._rng  # noqa: SLF001
    return generator


class _Global(NamedTuple):
    """A framework's own generators."""

    capture: Callable[[], dict[str, Any]]
    restore: Callable[[dict[str, Any]], None]


_FRAMEWORKS = {
    "jax": _Global(dict, lambda _: None),  # JAX has none: its keys are held by who uses them
    "torch": _Global(_capture_torch, _restore_torch),
    "tensorflow": _Global(_capture_tensorflow, _restore_tensorflow),
}

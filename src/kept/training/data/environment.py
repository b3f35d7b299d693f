"""The framework, devices and seeds of a run, for the provenance of its versions.

It imports nothing: what a run uses is loaded, in either Keras.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from typing import Any


def device_names(framework: str) -> dict[str, int]:
    """Return how many devices of each kind the framework has, by the names that it gives them."""
    module = sys.modules.get(framework)
    names: list[str] = []
    if module is not None:
        with contextlib.suppress(Exception):  # an answer of a driver: the run must not fail for it
            names = _NAMES[framework](module)
    return dict(Counter(names))


def seeds(framework: str) -> dict[str, int | str]:
    """Return the seeds that were set for the whole process, by what has them."""
    found: dict[str, Any] = {
        "keras": _attribute("keras.src.backend.common.global_state", "global_random_seed"),
        "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED"),
    }
    if framework == "tensorflow":
        found["tensorflow"] = _called("tensorflow.python.eager.context", "global_seed")
    if framework == "torch":
        found["torch"] = _called("torch", "initial_seed")
    return {name: seed for name, seed in found.items() if isinstance(seed, (int, str))}


def _of_jax(jax: Any) -> list[str]:
    return [str(device.device_kind) for device in jax.devices()]


def _of_torch(torch: Any) -> list[str]:
    if torch.cuda.is_available():
        return [str(torch.cuda.get_device_name(n)) for n in range(torch.cuda.device_count())]
    mps = getattr(torch.backends, "mps", None)
    return ["mps"] if mps is not None and mps.is_available() else ["cpu"]


def _of_tensorflow(tf: Any) -> list[str]:
    devices = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details
    return [str(details(one).get("device_name", "GPU")) for one in devices] or ["cpu"]


_NAMES = {"jax": _of_jax, "torch": _of_torch, "tensorflow": _of_tensorflow}


def _attribute(module: str, name: str) -> Any:
    """Return a global attribute of Keras, None if this Keras keeps it elsewhere."""
    with contextlib.suppress(Exception):
        return sys.modules[module].get_global_attribute(name)
    return None


def _called(module: str, name: str) -> Any:
    with contextlib.suppress(Exception):
        return getattr(sys.modules[module], name)()
    return None

"""The processes and devices of a run. With others, sums are added up in another order."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from collections.abc import Container


LAST_BITS = "the results may differ in their last bits"
# What follows if processes had these fields of a state of their own, each its own.
_COMMON = {
    "callbacks": "callbacks",
    "untracked": "variables outside the model",
    "weights": "weights",
}
_AGAIN = {"random": "random generators", "data": "generators of the data"}


def devices(model: keras.Model) -> str:
    """Describe the processes and devices that take part, and how the model is spread over them."""
    processes, number, kind = _OF_FRAMEWORK[keras.backend.backend()]()
    parts = [_count(processes, "process"), _count(number, f"{kind} device")]
    strategy = getattr(model, "distribute_strategy", None)
    replicas = int(getattr(strategy, "num_replicas_in_sync", 1))
    if replicas > 1:
        parts.append(_count(replicas, "replica"))
    distribution = keras.distribution.distribution()
    if distribution is not None:
        shape = "x".join(map(str, distribution.device_mesh.shape))
        parts.append(f"{type(distribution).__name__} of {shape}")
    return ", ".join(parts)


def other_processes(before: str, now: str, processes: tuple[int, int], lost: Container[str]) -> str:
    """Describe what follows from another number of processes than before.

    before and now are what devices returned, processes has both numbers, and lost names the fields
    of the state that the processes had of their own.
    """
    if before in ("", now):  # Keras does not know of the processes
        before, now = (_count(number, "process") for number in processes)
    common = [what for name, what in _COMMON.items() if name in lost]
    again = [what for name, what in _AGAIN.items() if name in lost]
    effects = [f"all get the {' and '.join(common)} of rank 0"] if common else []
    effects += [f"{' and '.join(again)} begin again as the script makes them"] if again else []
    effects.append("the results may differ" if again else LAST_BITS)
    return f"{before}, and this run has {now}: {', and '.join(effects)}"


def _count(number: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{number} {what if number == 1 else plural}"


def _of_jax() -> tuple[int, int, str]:
    import jax

    return int(jax.process_count()), int(jax.device_count()), str(jax.default_backend())


def _of_torch() -> tuple[int, int, str]:
    import torch

    distributed: Any = torch.distributed
    is_spread = distributed.is_available() and distributed.is_initialized()
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    number = torch.cuda.device_count() if kind == "cuda" else 1
    return int(distributed.get_world_size()) if is_spread else 1, number, kind


def _of_tensorflow() -> tuple[int, int, str]:
    tf: Any = sys.modules["tensorflow"]
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    processes = 1
    strategy = tf.distribute.get_strategy()
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is not None:
        workers = resolver.cluster_spec().as_dict().get("worker", [])
        processes = max(1, len(workers))
    return processes, len(tf.config.list_logical_devices(kind)), kind


_OF_FRAMEWORK = {"jax": _of_jax, "torch": _of_torch, "tensorflow": _of_tensorflow}

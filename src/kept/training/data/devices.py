"""The processes and devices of a run. With others, sums are added up in another order."""

from __future__ import annotations

import sys
from typing import Any

import keras


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

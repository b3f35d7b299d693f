"""What the scripts of this folder share; see processes.py, which starts them."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

RANK = int(os.environ.get("RANK", "0"))
WORLD = int(os.environ.get("WORLD", "1"))


def join(framework: str) -> Any:
    """Choose Keras's framework and join the other processes, as users do; one process is alone.

    framework is "jax", "torch" or "tf_keras"; for the last one it returns the strategy.
    """
    port = os.environ.get("PORT", "")
    if framework == "jax":
        os.environ["KERAS_BACKEND"] = "jax"
        import jax

        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        import keras

        if WORLD > 1:
            keras.distribution.initialize(f"127.0.0.1:{port}", WORLD, RANK)
    elif framework == "torch":
        os.environ["KERAS_BACKEND"] = "torch"
        import keras
        import torch.distributed

        torch.set_num_threads(1)
        if WORLD > 1:
            address = f"tcp://127.0.0.1:{port}"
            torch.distributed.init_process_group(
                "gloo", init_method=address, rank=RANK, world_size=WORLD
            )
    else:
        return _strategy()
    return None


def _strategy() -> Any:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if WORLD > 1:
        workers = [f"127.0.0.1:{port}" for port in os.environ["PORTS"].split(",")]
        cluster = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": RANK}}
        os.environ["TF_CONFIG"] = json.dumps(cluster)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    return tf.distribute.MultiWorkerMirroredStrategy()


def report(**values: Any) -> None:
    """Report values, which JSON can hold, to the test."""
    for name, value in values.items():
        print(f"REPORT {name}\t{json.dumps(value)}", flush=True)


def leave(code: int = 0) -> None:
    """End at once: without a barrier of the framework, for which other processes may be missing."""
    sys.stdout.flush()
    os._exit(code)

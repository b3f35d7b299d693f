"""The key-value store of TensorFlow's coordination service.

MultiWorkerMirroredStrategy starts this service in its first worker. fit of tf_keras runs its hooks
in the scope of its strategy, so the strategy of a running fit is always the one in scope.
"""

from __future__ import annotations

import base64
import sys
from typing import Any

from kept.training.group.transports.waiting import StoreTransport

# Seconds: the service has no call that does not wait, and 0 means for ever. It is in the first
# process, so that one has its answer at once.
_SHORTEST_OF_FIRST, _SHORTEST = 0.002, 0.02


class TensorFlowStore(StoreTransport):
    """See Transport; the first worker's coordination service has the values, which are text."""

    label = "MultiWorkerMirroredStrategy"

    def __init__(self, rank: int, size: int) -> None:
        """Take the place of this process."""
        super().__init__(rank, size)
        import tensorflow as tf
        from tensorflow.python.eager import context

        self.failures = (tf.errors.OpError, RuntimeError)
        self._no_value = tf.errors.DeadlineExceededError
        self._context: Any = context.context()

    def _set(self, key: str, value: bytes) -> None:
        self._context.set_config_key_value(key, base64.b64encode(value).decode())

    def _wait(self, key: str, seconds: float) -> bytes | None:
        shortest = _SHORTEST if self.rank else _SHORTEST_OF_FIRST
        milliseconds = round(max(seconds, shortest) * 1000)
        try:
            found = self._context.get_config_key_value(key, milliseconds)
        except self._no_value:
            return None
        return base64.b64decode(found)

    def _delete(self, key: str) -> None:
        self._context.delete_config_key_value(key)


def tensorflow_store() -> TensorFlowStore | None:
    """Return the store of the strategy in scope if that is of several workers."""
    tf = sys.modules.get("tensorflow")
    if tf is None or not tf.distribute.has_strategy():
        return None
    place = place_in(tf.distribute.get_strategy())
    return None if place is None else TensorFlowStore(*place)


def place_in(strategy: Any) -> tuple[int, int] | None:
    """Return this worker's rank and the number of workers; None if a strategy has only one."""
    tf = sys.modules.get("tensorflow")
    if tf is None or not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return None
    resolver = strategy.cluster_resolver
    cluster = resolver.cluster_spec()
    workers = {job: cluster.num_tasks(job) for job in ("chief", "worker") if job in cluster.jobs}
    if sum(workers.values()) < 2 or resolver.task_type not in workers:
        return None
    before = workers.get("chief", 0) if resolver.task_type == "worker" else 0
    return before + resolver.task_id, sum(workers.values())

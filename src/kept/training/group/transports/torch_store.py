"""The key-value store of torch.distributed."""

from __future__ import annotations

import sys
import time
from typing import Any

from kept.errors import InvalidCheckpoint
from kept.training.group.transports.waiting import StoreTransport


class TorchStore(StoreTransport):
    """See Transport. It polls, because one waiting thread would hold the store's only connection.

    A pause is a tenth of the wait before it, up to 50 ms: a process that waits long asks rarely.
    """

    label = "torch.distributed"

    def __init__(self, store: Any, rank: int, size: int) -> None:
        """Take torch's store, and the place of this process."""
        super().__init__(rank, size)
        self._store = store

    def _set(self, key: str, value: bytes) -> None:
        self._store.set(key, value)

    def _wait(self, key: str, seconds: float) -> bytes | None:
        start = time.monotonic()
        while not self._store.check([key]):
            waited = time.monotonic() - start
            if waited >= seconds:
                return None
            time.sleep(min(0.0005 + waited / 10, 0.05, seconds - waited))
        found: bytes = self._store.get(key)
        return found

    def _delete(self, key: str) -> None:
        self._store.delete_key(key)


def torch_store() -> TorchStore | None:
    """Return the store of torch.distributed if several processes have initialized it.

    Raises InvalidCheckpoint if its backend has no store.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not (distributed.is_available() and distributed.is_initialized()):
        return None
    size = distributed.get_world_size()
    if size < 2:
        return None
    store = distributed.distributed_c10d._get_default_store()  # noqa: SLF001 (the only way)
    if store is None:
        raise InvalidCheckpoint(
            f"torch.distributed with the backend {distributed.get_backend()} has no key-value "
            "store: pass group=, for example MPI.COMM_WORLD of mpi4py"
        )
    return TorchStore(store, distributed.get_rank(), size)

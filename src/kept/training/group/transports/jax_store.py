"""The key-value store of jax.distributed."""

from __future__ import annotations

import sys
from typing import Any

from kept.training.group.transports.waiting import StoreTransport


class JaxStore(StoreTransport):
    """See Transport; the first process's coordination service has the values."""

    label = "jax.distributed"

    def __init__(self, client: Any, rank: int, size: int) -> None:
        """Take the client of the coordination service, and the place of this process."""
        super().__init__(rank, size)
        self._client = client

    def _set(self, key: str, value: bytes) -> None:
        self._client.key_value_set_bytes(key, value)

    def _wait(self, key: str, seconds: float) -> bytes | None:
        milliseconds = round(seconds * 1000)
        try:
            if milliseconds:
                found: bytes = self._client.blocking_key_value_get_bytes(key, milliseconds)
            else:
                found = self._client.key_value_try_get_bytes(key)
            return found
        except RuntimeError as error:
            if str(error).startswith(("DEADLINE_EXCEEDED", "NOT_FOUND")):
                return None
            raise

    def _delete(self, key: str) -> None:
        self._client.key_value_delete(key)


def jax_store() -> JaxStore | None:
    """Return the store of jax.distributed if several processes have initialized it."""
    state = getattr(sys.modules.get("jax._src.distributed"), "global_state", None)
    client = getattr(state, "client", None)
    if state is None or client is None or state.num_processes < 2:
        return None
    return JaxStore(client, state.process_id, state.num_processes)

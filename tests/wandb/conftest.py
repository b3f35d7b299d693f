"""Training here is always a process of its own, with a W&B service process of its own."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="package")
def _no_service_to_inherit():
    """End this process's W&B service: it is in the environment, and children would share it."""
    pytest.importorskip("wandb").teardown()

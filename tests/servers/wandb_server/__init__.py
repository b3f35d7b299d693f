"""A server that speaks W&B's protocol, as far as runs and artifacts need it, on the loopback."""

from tests.servers.wandb_server.server import WandbServer

__all__ = ["WandbServer"]

"""What WandbModelCheckpoint is beside a ModelCheckpoint, on Keras 3 and on tf_keras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kept.training.destinations.wandb import WandbDestination
from kept.training.options import Options, WandbOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from kept.store.version import Version
    from kept.sync.outbox.outbox import Entry
    from kept.training.decide.controller import Controller
    from kept.training.destinations.base import Destination


class WandbHooks:
    """Has the checkpoints go to W&B; stands before ModelCheckpoint among the bases."""

    options_type: type[Options] = WandbOptions
    _checkpointing: Controller

    @property
    def logged(self) -> list[Entry]:
        """The checkpoints that are on the disk and will be in W&B, oldest first.

        Each is in the outbox until W&B has confirmed it. A crash, a kill or an outage does not
        change that: the next run or `kept sync` uploads what is left.
        """
        destination = self._checkpointing.destination
        return list(destination.logged) if isinstance(destination, WandbDestination) else []

    def _destination(self, options: Any, committed: Callable[[Version], None]) -> Destination:
        return WandbDestination(options, committed)

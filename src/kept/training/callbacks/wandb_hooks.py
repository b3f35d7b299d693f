"""What WandbModelCheckpoint is besides a ModelCheckpoint, on Keras 3 and on tf_keras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kept.training.destinations.wandb import WandbDestination
from kept.training.options import Options, WandbOptions

if TYPE_CHECKING:
    from kept.sync.outbox.deliver import Arrivals
    from kept.sync.outbox.entry import Entry
    from kept.training.decide.controller import Controller
    from kept.training.destinations.base import Destination


class WandbHooks:
    """Sends the checkpoints to W&B; comes before ModelCheckpoint among the bases."""

    options_type: type[Options] = WandbOptions
    _controller: Controller

    @property
    def logged(self) -> list[Entry]:
        """The checkpoints that are on the disk and will be in W&B, oldest first.

        Each is in the outbox until W&B has confirmed it. After a crash, a kill or an outage the
        next run or `kept sync` uploads the rest.
        """
        destination = self._controller.parts.destination
        return list(destination.logged) if isinstance(destination, WandbDestination) else []

    def _open_destination(self, options: Any, arrivals: Arrivals) -> Destination:
        return WandbDestination(options, arrivals)

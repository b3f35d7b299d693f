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
    _is_used: bool

    @property
    def logged(self) -> list[Entry]:
        """The checkpoints that are on the disk and will be in W&B, oldest first.

        Each is in the outbox until W&B has confirmed it. After a crash, a kill or an outage the
        next run or `kept sync` uploads the rest.
        """
        destination = self._controller.parts.destination if self._is_used else None
        return list(destination.logged) if isinstance(destination, WandbDestination) else []

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin as a ModelCheckpoint; before the run ends, its checkpoints are waited for."""
        super().on_train_begin(logs)  # type: ignore[misc]  # the next base
        destination = self._controller.parts.destination if self._is_used else None
        if isinstance(destination, WandbDestination):
            destination.wait_for(self._controller)

    def _open_destination(self, options: Any, arrivals: Arrivals) -> Destination:
        return WandbDestination(options, arrivals)


def told_apart(options: Any, threshold: float | None) -> tuple[Any, float | None]:
    """Return Keras's options, and the initial value of the metric.

    The eighth argument of W&B's callback is one or the other, by its version; the type shows which.
    """
    is_number = isinstance(options, (int, float)) and not isinstance(options, bool)
    return (None, options) if is_number and threshold is None else (options, threshold)

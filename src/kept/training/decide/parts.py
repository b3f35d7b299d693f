"""What a controller works with, and the requests that it makes of these parts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kept.training.request import SaveRequest

if TYPE_CHECKING:
    from kept.training.decide.moment import Moment
    from kept.training.destinations.base import Destination
    from kept.training.destinations.origin import RunOrigin
    from kept.training.keras_api.adapter import KerasAdapter
    from kept.training.monitor import Metric
    from kept.training.options import Options
    from kept.training.resume.base import Resuming
    from kept.training.resume.state import State
    from kept.training.save.path_template import PathTemplate
    from kept.training.upkeep.upkeep import Upkeep


@dataclass(frozen=True, slots=True)
class Parts:
    """What a controller works with."""

    adapter: KerasAdapter
    path: PathTemplate
    options: Options
    destination: Destination
    upkeep: Upkeep
    resuming: Resuming
    origin: RunOrigin
    is_named: bool  # whether an earlier process can have begun the artifact

    def begin(self, artifact: str) -> None:
        """Find out whether the artifact can be written, and where its versions come from."""
        self.destination.begin(artifact)
        self.origin.begin(self.destination)

    @property
    def saves_snapshots(self) -> bool:
        """Whether files are written from snapshots, and not on the training thread."""
        return self.options.background and self.path.cannot_snapshot is None

    @property
    def has_state(self) -> bool:
        """Whether versions have a state; W&B alone gets none: no run resumes from there."""
        return self.destination.store is not None and self.path.format.is_file

    def changed_path(self, callback: Any) -> PathTemplate | None:
        """Return the path for a filepath that was set since; raises InvalidCheckpoint."""
        changed = self.path.changed(callback)
        if changed is not None:
            changed.check_resume(self.options.resume)
        return changed

    def request(
        self, model: Any, artifact: str, moment: Moment, metric: Metric, path: str
    ) -> SaveRequest:
        """Return the request to save a model at a moment of its fit."""
        parent = self.resuming.parent
        return SaveRequest(
            model=model,
            artifact=artifact,
            path=path,
            target=os.path.join(os.getcwd(), path),
            aliases=tuple(dict.fromkeys((moment.alias, *self.options.aliases))),
            metadata={
                **(self.options.metadata or {}),
                **moment.metadata(self.adapter.step(model), metric),
                **self.path.metadata,
                **self.path.name_metadata(path),
                **({"parent": parent} if parent else {}),
            },
            label=moment.label,
            started=moment.started,
            state=self._state(moment),
            history_step=self.destination.history_step(),
            origin=self.origin.of(self.resuming.resumed_from),
        )

    def _state(self, moment: Moment) -> State | None:
        if not self.has_state:
            return None
        return self.resuming.capture(moment.epoch, moment.batch, moment.logs)

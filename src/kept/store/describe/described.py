"""What later events say of a version, as users get it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kept.store.log.changes import Note
    from kept.store.log.history import VersionRecord


class Described:
    """The part of a Version that log_metrics and update change."""

    record: VersionRecord

    @property
    def metrics(self) -> dict[str, float]:
        """The newest value of each metric that log_metrics has logged, by name.

        With a data set the name is also "name@dataset". Those of the save are in
        metadata["metrics"].
        """
        return {name: _number(value) for name, value in self.record.changes.metrics.items()}

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that update has given it, sorted."""
        return self.record.changes.tags

    @property
    def description(self) -> str | None:
        """What update has set, None for nothing."""
        return self.record.changes.description

    @property
    def notes(self) -> tuple[Note, ...]:
        """The notes on it, oldest first, each with text, time and by."""
        return self.record.changes.notes


def _number(value: float | str) -> float:
    """Return a logged value as a number: a text stands for NaN or an infinity."""
    return float(value) if isinstance(value, str) else value

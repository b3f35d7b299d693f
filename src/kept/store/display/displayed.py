"""What gives Store, Artifact and Version their HTML in notebooks; it loads charts when asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kept.store.log.history import VersionRecord
    from kept.store.log.log import Logs


class DisplayedStore:
    """A store that a notebook displays as the table of its artifacts."""

    logs: Logs

    def _repr_html_(self) -> str:
        from kept.charts.markup import Display
        from kept.store.display.tables import store_parts

        display = Display(self.logs.bucket.location)
        with display as parts:
            parts.extend(store_parts(self.logs))
        return str(display)


class DisplayedArtifact:
    """An artifact that a notebook displays as a chart and the table of its versions."""

    store: Any
    name: str

    def _repr_html_(self) -> str:
        from kept.charts.markup import Display
        from kept.store.display.tables import artifact_parts

        display = Display(self.name)
        with display as parts:
            parts.extend(artifact_parts(self.store.logs, self.name))
        return str(display)


class DisplayedVersion:
    """A version that a notebook displays with its metrics, files, and the lines to copy."""

    store: Any
    name: str
    record: VersionRecord

    def _repr_html_(self) -> str:
        from kept.charts.markup import Display
        from kept.store.display.tables import version_parts

        display = Display(f"{self.name}:v{self.record.index}")
        with display as parts:
            parts.extend(version_parts(self.store.logs, self.name, self.record))
        return str(display)


class DisplayedRun:
    """A callback that a notebook displays with what it saves, where, and its last checkpoints."""

    if TYPE_CHECKING:

        @property
        def name(self) -> str | None: ...
        @property
        def versions(self) -> Any: ...

    def _repr_html_(self) -> str:
        from kept.charts.markup import Display, heading
        from kept.store.display.tables import run_facts, run_parts

        title = f"kept.{type(self).__name__}"
        display = Display(title)
        with display as parts:
            parts.append(heading(title, self.name or ""))
            records = [version.record for version in reversed(self.versions)]
            parts.extend(run_parts(run_facts(self), records))
        return str(display)

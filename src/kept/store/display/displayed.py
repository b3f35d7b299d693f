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
        from kept.store.display.markup import displayed
        from kept.store.display.tables import store_parts

        location = self.logs.bucket.location
        return displayed(location, lambda: store_parts(self.logs))


class DisplayedArtifact:
    """An artifact that a notebook displays as a chart and the table of its versions."""

    store: Any
    name: str

    def _repr_html_(self) -> str:
        from kept.store.display.markup import displayed
        from kept.store.display.tables import artifact_parts

        return displayed(self.name, lambda: artifact_parts(self.store.logs, self.name))


class DisplayedVersion:
    """A version that a notebook displays with its metrics, files, and the lines to copy."""

    store: Any
    name: str
    record: VersionRecord

    def _repr_html_(self) -> str:
        from kept.store.display.markup import displayed
        from kept.store.display.tables import version_parts

        reference = f"{self.name}:v{self.record.index}"
        return displayed(reference, lambda: version_parts(self.store.logs, self.name, self.record))

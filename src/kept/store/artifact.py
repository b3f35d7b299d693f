"""An artifact, as users get it from a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kept.errors import Damaged
from kept.store.log.lookup import records_of, view_of

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.store.version import Version


@dataclass(frozen=True)
class Artifact:
    """A named series of versions."""

    store: Store
    name: str

    @property
    def type(self) -> str:
        """The type of its versions, "model" for checkpoints; raises Damaged."""
        found = next(records_of(view_of(self.store.logs, self.name), deleted=True), None)
        if found is None:
            raise Damaged(f"No version of {self.name} can be read. Run kept repair.")
        return found.type

    def versions(self) -> list[Version]:
        """The versions that are not deleted, oldest first."""
        return self.store.versions(self.name)

    @property
    def aliases(self) -> dict[str, Version]:
        """Every alias and the version it names, "latest" included."""
        return {alias: version for version in self.versions() for alias in version.aliases}

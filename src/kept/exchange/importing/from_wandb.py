"""The history of an artifact of W&B, as checkpoints to import."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kept.errors import ImportFailed
from kept.exchange.importing.item import Facts, Item, Plan, name_from
from kept.exchange.importing.run import is_allowed
from kept.names import BEST
from kept.store.metadata import SAVED_AT
from kept.sync.wandb.history import Logged, history
from kept.units import time_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class LoggedItem(Item):
    """A version of an artifact of W&B."""

    def __init__(self, logged: Logged) -> None:
        """Take the version."""
        self._logged = logged
        self.facts = _facts(logged)

    @contextlib.contextmanager
    def files(self) -> Iterator[Sequence[str]]:
        """Download the files; yield what lies at the top of the version."""
        with tempfile.TemporaryDirectory(prefix="kept-") as folder:
            self._logged.download(folder)
            names = sorted(os.listdir(folder))
            if not names:
                raise ImportFailed("it has no files")
            yield [os.path.join(folder, name) for name in names]

    def source_answers(self) -> bool:
        """Return whether W&B answers."""
        return self._logged.server_answers()


def plan_wandb(path: str, name: str | None) -> Plan:
    """Return the versions of ENTITY/PROJECT/ARTIFACT, oldest first; raises what history raises."""
    versions = history(path)
    items = [LoggedItem(logged) for logged in versions]
    has_best = any(BEST in logged.aliases for logged in versions)
    kind = name_from(versions[0].type) if versions else "model"
    own = name or name_from(path.rpartition("/")[2])
    return Plan(own, items, notes=_notes(versions), type=kind, has_best=has_best)


def _facts(logged: Logged) -> Facts:
    metadata = dict(logged.metadata)
    return Facts(
        label=logged.version,
        origin={
            "wandb": f"{logged.server}/{logged.path}",
            "version": logged.version,
            "digest": logged.digest,
        },
        metrics=metrics_in(metadata),
        saved_at=str(metadata.pop(SAVED_AT, "")) or moment(logged.created_at),
        size=logged.size,
        aliases=logged.aliases,
        metadata=metadata | _described(logged),
    )


def _described(logged: Logged) -> dict[str, Any]:
    """Return what W&B says of a version beside its metadata."""
    said = {"description": logged.description, "tags": list(logged.tags)}
    refused = [alias for alias in logged.aliases if not is_allowed(alias)]
    kind = logged.type if logged.type != name_from(logged.type) else ""
    more = {"type": kind, "aliases": refused}
    found = {key: value for key, value in {**said, **more}.items() if value}
    return {"wandb": found} if found else {}


def metrics_in(metadata: Mapping[str, Any]) -> dict[str, float | str]:
    """Return the metrics among the metadata of another program: those of metrics, and floats."""
    stated = metadata.get("metrics")
    found = dict(stated) if isinstance(stated, dict) else metadata
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, float) and math.isfinite(value)
    }


def moment(text: str) -> str:
    """Return a time of W&B, which is UTC if it names no zone, in the form of the logs."""
    found = datetime.fromisoformat(text)
    return time_text(found if found.tzinfo else found.replace(tzinfo=UTC))


def _notes(versions: Sequence[Logged]) -> list[str]:
    refused = {a for logged in versions for a in logged.aliases if not is_allowed(a)}
    if not refused:
        return []
    names = ", ".join(sorted(refused))
    return [f"Aliases that a version of kept cannot have stay in its metadata: {names}"]

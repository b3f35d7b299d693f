"""Takes the finished steps of a folder of Orbax into a store, each once."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kept.errors import ArtifactNotFound, InvalidInput, InvalidPath
from kept.names import check_name
from kept.store.log.lookup import records_of, view_of
from kept.store.open import open_store
from kept.store.orbax.steps import Identity, Step, find_steps, identity_of
from kept.store.promotion.protected import withheld_text
from kept.store.store import Store

if TYPE_CHECKING:
    import os

    from kept.store.version import Version


def log_orbax(
    folder: str | os.PathLike[str],
    name: str,
    store: Store | str | os.PathLike[str] | None = None,
    *,
    monitor: str | None = None,
    mode: str = "min",
) -> list[Version]:
    """Commit each finished step of a folder of Orbax as a version, in order; return the new ones.

    A step that is a version of the artifact already, or was one, is not taken again, so a second
    call adds what is new. A warning names unfinished steps. Each version gets the alias step_<n>
    and Orbax's metrics as metadata; a step of kept.OrbaxCheckpoint gets what that callback noted.
    version.download gives a folder with the same bytes, which Orbax and Keras take.

    Args:
        folder: Orbax's folder of steps, for example that of a CheckpointManager.
        name: The artifact's name.
        store: A Store, or its location as open_store takes it.
        monitor: The metric of Orbax that decides which version becomes best.
        mode: "min" or "max" of that metric.

    Raises:
        InvalidPath: The folder has no finished step.
        InvalidInput: The mode is unknown, or the artifact has another type.
        OSError: A step could not be read or committed; the steps before it are versions.
    """
    if mode not in ("min", "max"):
        raise InvalidInput(f"mode is 'min' or 'max'. Received: mode={mode!r}")
    check_name(name)
    target = store if isinstance(store, Store) else open_store(store)
    steps = find_steps(folder)
    if steps.unfinished:
        names = ", ".join(steps.unfinished)
        warnings.warn(f"Orbax has not finished {names} in {folder}: not taken", stacklevel=2)
    if not steps.finished:
        raise InvalidPath(f"There is no finished step of Orbax in it. Received: {folder!r}")
    known = known_steps(target, name)
    return [
        _logged(target, name, _monitored(step, monitor, mode))
        for step in steps.finished
        if step.identity not in known
    ]


def known_steps(store: Store, name: str) -> set[Identity]:
    """Return which saves of Orbax are versions of an artifact, or were; raises Damaged."""
    try:
        records = list(records_of(view_of(store.logs, name), deleted=True))
    except ArtifactNotFound:
        return set()
    found = (identity_of(record.metadata) for record in records)
    return {identity for identity in found if identity is not None}


def _logged(store: Store, name: str, step: Step) -> Version:
    metadata = step.metadata(time.perf_counter())
    version = store.log_artifact(name, step.folder, aliases=step.facts.aliases, metadata=metadata)
    if version.withheld:
        warnings.warn(withheld_text(name, version.withheld, store.location), stacklevel=4)
    return version


def _monitored(step: Step, monitor: str | None, mode: str) -> Step:
    """Return the step with a metric of Orbax as the monitored one, if the step has it.

    An integer beyond the floats is none.
    """
    value: Any = step.metrics.get(monitor) if monitor else None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return step
    try:
        number = float(value)
    except OverflowError:
        return step
    metadata = {**step.facts.metadata, "monitor": monitor, "mode": mode, "value": number}
    return replace(step, facts=step.facts._replace(metadata=metadata, contends=True))

"""The lines that bring a version back: in Python, by the command, and in a training."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.store.log.history import VersionRecord

_WHOLE = (".keras", ".h5", ".hdf5")
_WEIGHTS = ".weights.h5"


class Lines(NamedTuple):
    """What to type to get a version."""

    python: str
    command: str
    resume: str | None  # None if the version is no model


def lines_for(location: str, name: str, record: VersionRecord, paths: Sequence[str]) -> Lines:
    """Return the lines for Python, a shell and a training."""
    reference = f"{name}:v{record.index}"
    version = f"kept.open_store({location!r})[{reference!r}]"
    weights = [path for path in paths if path.lower().endswith(_WEIGHTS)]
    whole = [p for p in paths if p.lower().endswith(_WHOLE) and p not in weights]
    if len(whole) == 1:
        python = f"model = {version}.load_model()"
    elif len(weights) == 1 and not whole:
        python = f"{version}.load_weights(model)"
    else:
        python = f"{version}.download({f'{name}-v{record.index}'!r})"
    command = f"kept get {reference} --store {shlex.quote(location)}"
    resume = None
    if record.type == "model" and len(whole or weights) == 1:
        [path] = whole or weights
        file = path.rpartition("/")[2]
        resume = (
            f"kept.ModelCheckpoint({file!r}, name={f'{name}-from-v{record.index}'!r}, "
            f"resume={reference!r}, store={location!r})"
        )
    return Lines(python, command, resume)

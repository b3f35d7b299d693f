"""What a user can do if a command finds no store: it is elsewhere, or nothing has arrived."""

from __future__ import annotations

import itertools
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from kept.errors import DamageWarning
from kept.sync.outbox.outbox import Outbox
from kept.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.store import Store

_FOLDER = "kept-store"
_MARKER = "kept.json"
_MOST_LOOKED_AT = 200  # folders
_MOST_NAMED = 3


def advice(store: Store) -> str:
    """Return sentences about checkpoints that wait in the outbox, and about stores close by."""
    stores = [] if store.bucket.is_remote else _near(Path(store.location))
    near = sorted(map(os.path.relpath, stores))[:_MOST_NAMED]
    found = f"There is a store in {' and in '.join(near)}. " if near else ""
    return (
        f"{_waiting()}{found}Pass --store LOCATION or set KEPT_STORE. "
        "The first checkpoint, or `kept put`, creates a store."
    )


def _waiting() -> str:
    outbox = Outbox()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamageWarning)  # kept sync --status names it
        try:
            count = len(outbox.entries())
        except OSError:  # this only adds to another error
            return ""
    verb = "waits" if count == 1 else "wait"
    waiting = f"{counted(count, 'checkpoint')} {verb} in {outbox.folder}"
    return f"{waiting}; to list them: kept sync --status. " if count else ""


def _near(place: Path) -> Iterator[Path]:
    """Yield the stores beside a folder that has none, below those beside it, or else above it."""
    try:
        beside = list(itertools.islice(place.parent.iterdir(), _MOST_LOOKED_AT))
    except OSError:
        beside = []
    found = [f for each in beside for f in (each, each / _FOLDER) if _is_store(f)]
    above = (f for each in place.parents for f in (each, each / _FOLDER) if _is_store(f))
    yield from found or itertools.islice(above, 1)


def _is_store(folder: Path) -> bool:
    try:
        return (folder / _MARKER).is_file()
    except OSError:
        return False

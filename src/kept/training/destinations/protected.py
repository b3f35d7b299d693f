"""Aliases of a callback that are protected: refused before training, and left out afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.errors import InvalidCheckpoint
from kept.messages import show_once
from kept.store.promotion.protected import protected_among, withheld_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.store.store import Store
    from kept.store.version import Version


def check_unprotected(store: Store, aliases: Sequence[str]) -> None:
    """Raise InvalidCheckpoint if an alias of the callback is protected; for on_train_begin."""
    found = protected_among(store.bucket, aliases)
    if found:
        raise InvalidCheckpoint(
            f"No run moves {found[0]!r}: this alias is protected in {store.location}. Leave it out "
            f"of aliases, and promote a version afterwards: kept promote NAME:vN {found[0]}. "
            f"Received: aliases={list(aliases)!r}"
        )


def announce_withheld(version: Version) -> None:
    """Print, once in a process, that an alias was protected since the fit began."""
    if version.withheld:
        show_once(withheld_text(version.name, version.withheld, version.store.location))

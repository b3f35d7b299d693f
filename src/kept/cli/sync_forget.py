"""For kept sync --forget: a mirror that will not come back is a mirror no longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.cli.common import confirm, opened, print_result
from kept.cli.output import counted
from kept.errors import NotFound

if TYPE_CHECKING:
    from kept.store.store import Store


def forget(
    location: str | None, mirror: str, artifact: str | None, *, yes: bool, as_json: bool
) -> None:
    """Remove the receipts of a mirror, of one artifact or of all; what it holds stays there.

    Raises NotFound if the store has no such mirror.
    """
    from kept.store.receipts import Receipts

    store = opened(location)
    place = _known(store, mirror, artifact)
    own = Receipts(store.bucket, place)
    names = [name for name in own.artifacts() if artifact in (None, name)]
    if not yes:
        confirm(f"Forget the mirror {place} of {counted(len(names), 'artifact')}?")
    for name in names:
        own.forget(name)
    print_result(
        f"{place} is no mirror of {', '.join(names)} any longer. What it holds stays there",
        {"mirror": place, "artifacts": names},
        as_json=as_json,
    )


def _known(store: Store, mirror: str, artifact: str | None) -> str:
    """Return the mirror as its receipts name it."""
    from kept.store.open import open_bucket
    from kept.store.receipts import receipts

    every = [receipt for receipt in receipts(store.bucket) if artifact in (None, receipt.artifact)]
    known = sorted({receipt.destination for receipt in every})
    for place in (mirror, mirror.rstrip("/")):
        if place in known:
            return place
    place = open_bucket(mirror).location
    if place in known:
        return place
    of = f" of {artifact}" if artifact else ""
    mirrors = ", ".join(known) or "none"
    raise NotFound(f"{store.location} has no such mirror{of}. Received: {mirror}. Known: {mirrors}")

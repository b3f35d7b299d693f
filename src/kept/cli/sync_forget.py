"""For kept sync --forget: a mirror that will not come back is a mirror no longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.cli.common import confirm, opened, print_result
from kept.errors import NotFound
from kept.units import counted

if TYPE_CHECKING:
    from kept.store.store import Store


def forget(
    location: str | None, mirror: str, artifact: str | None, *, yes: bool, as_json: bool
) -> None:
    """Remove the receipts of a mirror, of one artifact or of all; what it holds stays there.

    The mirror is a location, or the folder of its receipts if damage hides the location. Raises
    NotFound if the store has no such mirror.
    """
    from kept.store.receipts import Receipts

    store = opened(location)
    place, names = _known(store, mirror, artifact)
    own = Receipts(store.bucket, place)
    if not yes:
        confirm(f"Forget the mirror {place} of {counted(len(names), 'artifact')}?")
    for name in names:
        own.forget(name)
    print_result(
        f"{place} is no mirror of {', '.join(names)} any longer. What it holds stays there. "
        "A run that still mirrors there counts it again with its next save",
        {"mirror": place, "artifacts": names},
        as_json=as_json,
    )


def _known(store: Store, mirror: str, artifact: str | None) -> tuple[str, list[str]]:
    """Return the mirror as its receipts name it, and its artifacts.

    The key of a receipt proves both, so a damaged receipt is found, too.
    """
    from kept.store.open import open_bucket
    from kept.store.receipts import Receipts, receipts

    spelled = (str, lambda name: name.rstrip("/"), lambda name: open_bucket(name).location)
    for place in (spell(mirror) for spell in spelled):
        names = Receipts(store.bucket, place).artifacts()
        if names := [name for name in names if artifact in (None, name)]:
            return place, names
    every = [receipt for receipt in receipts(store.bucket) if artifact in (None, receipt.artifact)]
    of = f" of {artifact}" if artifact else ""
    mirrors = ", ".join(sorted({receipt.destination for receipt in every})) or "none"
    raise NotFound(f"{store.location} has no such mirror{of}. Received: {mirror}. Known: {mirrors}")

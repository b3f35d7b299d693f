"""What kept alias, promote and rollback print: which version has the alias, and which had it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.cli.common import print_result, version_json
from kept.names import BEST
from kept.store.health.state import health_of

if TYPE_CHECKING:
    from kept.store.promotion.move import Moved
    from kept.store.store import Store


def print_moved(store: Store, name: str, alias: str, moved: Moved, *, as_json: bool) -> None:
    """Print where an alias is now, as a line or as the version's JSON, with `was` in it."""
    version = store.logged(name, moved.record.index)
    was = None if moved.was is None else f"{name}:v{moved.was}"
    skipped = [f"{name}:v{index}" for index in moved.skipped]
    text = f"{name}:{alias} is {version.reference}"
    if was is not None:
        text += ", as before" if was == version.reference else f" (was {was})"
    lines = [text]
    if alias == BEST and health_of(version.record).is_unhealthy:
        lines.append(f"{version.reference} is unhealthy; to see why: kept show {version.reference}")
    if skipped:
        lines.append(f"Passed over, because deleted: {', '.join(skipped)}")
    shape = version_json(version) | {"alias": alias, "was": was}
    print_result(lines, shape | ({"skipped": skipped} if skipped else {}), as_json=as_json)

"""The names of the artifacts of a store, looked up several times in one gc and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.errors import Damaged
from kept.names import is_name
from kept.store.log.fence import PENDING

if TYPE_CHECKING:
    from kept.bucket.base import Item
    from kept.store.log.log import Logs

_STRAYS = {".DS_Store", "Thumbs.db", "desktop.ini"}


class ArtifactNames:
    """The artifacts, and those whose first record is not committed yet.

    A name never vanishes: so a list that lacks an earlier one is old or incomplete, and a gc that
    believed it would take the content of an artifact for unneeded.
    """

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._seen: set[str] = set()

    def look(self) -> list[str]:
        """Return the names that exist now; raises Damaged if one of an earlier look is missing."""
        bucket = self._logs.bucket
        # In this order: a name below new/ is deleted only after its log exists.
        new = [i.key.removeprefix(PENDING) for i in bucket.items(PENDING) if _is_pending(i)]
        found = {*new, *self._logs.names()}
        if lost := sorted(self._seen - found):
            raise Damaged(
                f"{bucket.location}: a list of artifacts lacks {', '.join(lost[:5])}, which an "
                "earlier list had. Lists of this place are old or incomplete, so the gc stops. Run "
                "it again later; if that repeats, look for a cache before the bucket."
            )
        self._seen |= found
        return sorted(found)


def _is_pending(item: Item) -> bool:
    """Return whether a key says that the first version of an artifact is being written."""
    name = item.key.removeprefix(PENDING)
    # Programs that show folders leave files with these names; the keys of kept are empty.
    is_stray = item.size > 0 and (name in _STRAYS or name.startswith("._"))
    return is_name(name) and not is_stray

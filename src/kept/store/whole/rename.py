"""Renames an artifact: its events are replayed under the new name, and no byte moves.

Invariants:
1. A rename never deletes, hides or renumbers a version whose write_id is not in the old log. So
   nothing is replayed into a log with such a version; see replay.py.
2. Until the last step, the old name has all versions. That step is one record in the old log that
   removes its versions and names the new one. It follows the newest event that was replayed, so no
   version of another writer is lost.
3. Before the last step, the new log has a record of this call behind which all versions exist. So a
   call that takes back what it replayed in vain never takes it from a rename that was faster.

An event keeps its write_id. So nothing records what is left to do: it is what the new log lacks,
also after a kill, or if another process renames the artifact to the same name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.errors import AliasProtected, ArtifactNotFound, InvalidName
from kept.names import check_name
from kept.store.log.history import VersionRecord, live
from kept.store.log.lookup import moved_to, view_of
from kept.store.origin.actor import actor
from kept.store.promotion.protected import protected_among
from kept.store.whole.replay import Replay
from kept.store.whole.rules import own_aliases, protected

if TYPE_CHECKING:
    from kept.bucket.transfer import Progress
    from kept.store.log.log import Logs, View


def rename(logs: Logs, old: str, new: str, progress: Progress | None = None) -> int:
    """Rename an artifact; return the number of its versions. See Store.rename.

    progress is called with the events done and in all.
    """
    if check_name(old) == check_name(new):
        raise InvalidName(f"The new name of an artifact is another one. Received: {new!r}")
    first = view_of(logs, old)
    replay = Replay(first, logs.of(new), progress)
    for view in first.log.views(first):
        view.check()
        versions = {record.index: record for record in live(view.facts())}
        try:
            check_movable(view, versions)
            replay.run(view, versions)
            check_movable(view, versions)  # replaying took a while
        except (ArtifactNotFound, AliasProtected) as error:
            left = replay.take_back(view)
            raise type(error)(f"{error}{left}") from None
        event = {"event": "remove", "indexes": sorted(versions), "moved_to": new, "by": actor()}
        if first.log.append_after(view, event):
            return len(versions)
    raise AssertionError("views has no end")


def check_movable(view: View, versions: dict[int, VersionRecord]) -> None:
    """Raise ArtifactNotFound if no version is left, AliasProtected if one has such an alias."""
    if not versions:
        raise ArtifactNotFound(_nothing_left(view))
    aliases = own_aliases(alias for record in versions.values() for alias in record.aliases)
    if guarded := protected_among(view.log.bucket, aliases):
        raise AliasProtected(
            f"{view.log.name} is not renamed: {protected(guarded)}, and {view.log.name}:"
            f"{guarded[0]} would no longer exist. To end that: kept protect --remove {guarded[0]}"
        )


def _nothing_left(view: View) -> str:
    name, new = view.log.name, moved_to(view)
    if new is not None:
        return f"{name} was renamed already: its versions are in {new}."
    return f"{name} has no version that could be renamed: all were deleted."

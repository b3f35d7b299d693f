"""How a change of the log can be undone now: which action of the page does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kept.names import BEST, is_automatic

if TYPE_CHECKING:
    from kept.store.promotion.history import Change
    from kept.web.reading.reader import Reader
    from kept.web.reading.versions import Versions

_RULED = (BEST,)  # kept itself moves these
_BY_HAND = ("alias", "unalias")  # not for a protected alias


class Undo(NamedTuple):
    """An action that takes a change back."""

    label: str
    verb: str
    pairs: tuple[tuple[str, str], ...]


def undo_of(reader: Reader, change: Change) -> Undo | None:
    """Return the way back of a change, None if there is none, or if it is taken back already."""
    name = change.artifact
    if name is None:
        return None
    if change.action == "move":
        return _rename(reader, name, change)
    make = _WAYS.get(change.action)
    found = make(name, reader.versions(name), change) if make else None
    if found and found.verb in _BY_HAND and change.details["alias"] in reader.protected():
        return found._replace(verb="promote") if found.verb == "alias" else None
    return found


def _undelete(name: str, versions: Versions, change: Change) -> Undo | None:
    index = change.details["version"]
    record = next((each for each in versions.records if each.index == index), None)
    if record is None or not record.deleted or versions.moved_to:
        return None
    return Undo("Undelete", "undelete", (("ref", f"{name}:v{index}"),))


def _restore(name: str, versions: Versions, change: Change) -> Undo | None:
    gone = set(change.details["versions"])
    is_removed = all(record.deleted for record in versions.records if record.index in gone)
    if not gone or not is_removed or versions.live or versions.moved_to:
        return None
    return Undo("Undelete all", "restore", (("name", name),))


def _move_back(name: str, versions: Versions, change: Change) -> Undo | None:
    """Return the move of an alias to where it was, if it is still where this change has put it."""
    details = change.details
    alias, index, was = (details.get(key) for key in ("alias", "version", "was"))
    is_ours = not isinstance(alias, str) or is_automatic(alias) or alias in _RULED
    now = next((r.index for r in versions.live if alias in r.aliases), None)
    if is_ours or "was" not in details or index == was or now != index:
        return None
    if was is None:
        is_set = change.action == "alias"
        return Undo(f"Remove {alias}", "unalias", _pairs(name, alias)) if is_set else None
    if not any(record.index == was for record in versions.live):
        return None
    if change.action == "promote":
        return Undo(f"Roll back to v{was}", "rollback", _pairs(name, alias))
    return Undo(f"Back to v{was}", "alias", (("ref", f"{name}:v{was}"), ("alias", str(alias))))


def _pairs(name: str, alias: object) -> tuple[tuple[str, str], ...]:
    return (("name", name), ("alias", str(alias)))


def _rename(reader: Reader, name: str, change: Change) -> Undo | None:
    """Return the way back of a rename, if the artifact still has this name, and the old is free."""
    old = change.details.get("moved_from")
    if not isinstance(old, str) or not reader.versions(name).live:
        return None
    row = reader.table().standings.get(old)
    if row is not None and row.versions:
        return None
    return Undo(f"Rename back to {old}", "rename", (("name", name), ("new", old)))


_WAYS = {
    "delete": _undelete, "remove": _restore, "alias": _move_back, "promote": _move_back,
}  # fmt: skip

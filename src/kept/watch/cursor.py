"""The cursor of a watcher: a file that says which events are sent.

Invariants:
1. An event counts as sent only if the file says so, durably. It is written before the next event
   is sent, and before the watcher waits.
2. Before an event is sent, the file has it as begun. So a watcher that was killed meanwhile knows
   afterwards that the event may have arrived, and marks it when it is sent again.
3. A lock beside the file is held as long as the watcher lives, so no other one uses the file.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from kept.bucket.file_io import sync_folder, write_file
from kept.digest import digest
from kept.errors import Damaged, InvalidInput, KeptError
from kept.store.encoding import canonical, seal, unseal
from kept.store.format_marker import known_id
from kept.sync.outbox.file_lock import locked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.store import Store

_FORMAT = 1


@dataclass
class Position:
    """How far a watcher is in the log of an artifact."""

    record: int = 0  # this one, and all before it, are handled
    write_id: str = ""  # of that record
    sent: list[str] = field(default_factory=list)  # ids of events of the record after it
    moved_to: str = ""  # the name under which the artifact continues, as far as it is read
    first: str = ""  # write_id of the first version's record, once it was asked for


@dataclass
class Tries:
    """The attempts to send one event."""

    begun: int = 0
    failed: int = 0


@dataclass
class Cursor:
    """What a watcher has sent. Without a path nothing is stored."""

    store: str  # the id of the store
    watched: str  # which artifacts: another glob needs another cursor
    path: str | None = None
    is_new: bool = True
    is_changed: bool = False  # since it was written
    positions: dict[str, Position] = field(default_factory=dict)
    mirrored: dict[str, dict[str, int]] | None = None  # mirror -> artifact -> newest version sent
    tries: dict[str, Tries] = field(default_factory=dict)  # of events that are not sent yet

    def save(self) -> None:
        """Write the cursor durably; raises KeptError."""
        self.is_new = self.is_changed = False
        if self.path is None:
            return
        value = asdict(self) | {"format": _FORMAT}
        del value["path"], value["is_new"], value["is_changed"]
        try:
            _write(self.path, seal(value))
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def settle(self) -> None:
        """Write what has changed, if anything."""
        if self.is_changed:
            self.save()

    def begin(self, event_id: str) -> bool:
        """Note durably that an event is about to be sent; return whether that is a repetition."""
        tries = self.tries.setdefault(event_id, Tries())
        tries.begun += 1
        self.save()
        return tries.begun > 1

    def fail(self, event_id: str) -> int:
        """Note that an attempt has failed; return how many of this event have."""
        tries = self.tries[event_id]
        tries.failed += 1
        self.is_changed = True
        return tries.failed

    def end(self, event_id: str) -> None:
        """Note that an event is done: sent, or given up."""
        self.tries.pop(event_id, None)
        self.is_changed = True


def _unwritable(path: str, error: OSError) -> KeptError:
    return KeptError(
        f"The cursor {path} cannot be written: {error.strerror}. Nothing is sent without it. Free "
        "the disk, or pass another place as --state."
    )


def _write(path: str, data: bytes) -> None:
    new = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    write_file(new, [data])
    os.replace(new, path)
    sync_folder(os.path.dirname(path))


def store_id(store: Store) -> str:
    """Return the id of a store; one of an earlier kept has none, so a digest of its place."""
    return known_id(store.logs.marker) or digest(store.location.encode())[:32]


def default_path(store: Store, watcher: str) -> str:
    """Return where the cursor of a watcher is: below $XDG_STATE_HOME, or ~/.local/state."""
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(home, "kept", "watch", store_id(store), f"{watcher}.json")


def default_name(target: str, *parts: object) -> str:
    """Return the name of a watcher that was given none: the same for the same command."""
    return f"{target}-{digest(canonical(list(parts)))[:8]}"


@contextlib.contextmanager
def held(store: Store, watched: str, path: str | None) -> Iterator[Cursor]:
    """Yield the cursor at a path, a new one if the file is missing, and hold its lock.

    Raises InvalidInput if another watcher uses it, or if it belongs to another store or to other
    artifacts, KeptError if its folder cannot be made, and Damaged.
    """
    if path is None:
        yield Cursor(store_id(store), watched)
        return
    path = os.path.abspath(path)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    with locked(f"{path}.lock", wait=False) as is_mine:
        if not is_mine:
            raise InvalidInput(
                f"Another watcher uses {path}. End it first, or pass another --name."
            )
        yield _read(store, watched, path)


def _read(store: Store, watched: str, path: str) -> Cursor:
    mine = store_id(store)
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return Cursor(mine, watched, path)
    again = f"Pass another --name or --state, or remove {path} to begin again."
    try:
        found = _parsed(unseal(data, path), path)
    except (KeyError, TypeError, AttributeError, Damaged) as error:
        raise Damaged(f"{path} is no cursor of a watcher: {error!r}. {again}") from None
    if found.store != mine:
        raise InvalidInput(
            f"{path} is the cursor of another store: it has the id {found.store}, and "
            f"{store.location} has {mine}. {again}"
        )
    if found.watched != watched:
        raise InvalidInput(
            f"{path} is the cursor for the artifacts {found.watched!r}. Received: {watched!r}. "
            f"{again}"
        )
    return found


def _parsed(value: dict[str, Any], path: str) -> Cursor:
    if value["format"] != _FORMAT:
        raise Damaged(f"expected format {_FORMAT}, found {value['format']!r}")
    return Cursor(
        value["store"],
        value["watched"],
        path,
        is_new=False,
        positions={name: Position(**each) for name, each in value["positions"].items()},
        mirrored=value["mirrored"],
        tries={name: Tries(**each) for name, each in value["tries"].items()},
    )

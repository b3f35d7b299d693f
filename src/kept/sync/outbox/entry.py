"""An entry of an outbox: a checkpoint that waits for its destination, and its strict reader."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kept.digest import DIGEST, file_digest
from kept.errors import Damaged, InvalidPath
from kept.names import check_paths, is_word
from kept.store.encoding import MOST_RECORD, unseal
from kept.store.log.events import check_moment
from kept.store.log.later_events import check_origin

if TYPE_CHECKING:
    from kept.store.encoding import Json

RECORD = "entry.json"
FILES = "files"
_TEXTS = ("write_id", "destination", "time")


class DamagedEntry(Damaged):
    """The files of an entry are not those that were added; the destination is not to blame."""


class EntryFile(NamedTuple):
    """A file of an entry."""

    path: str  # in the version
    file: str  # on the disk
    size: int
    modified: int  # nanoseconds
    digest: str | None = None  # of the bytes; None in entries of earlier versions of kept

    def is_as_added(self) -> bool:
        """Return whether the bytes are those that were added; raises OSError.

        A copy of an outbox has other times, so only the bytes count then. They are read only if
        the time has changed.
        """
        found = os.stat(self.file)
        if found.st_size != self.size:
            return False
        return found.st_mtime_ns == self.modified or self.digest == file_digest(self.file)


@dataclass(frozen=True, slots=True)
class Entry:
    """A checkpoint that waits for its destination's confirmation."""

    number: int  # ascending in the order in which entries were added
    write_id: str  # random, so that a destination can recognize the entry
    destination: str
    time: str  # when it was added: UTC, ISO 8601
    files: tuple[EntryFile, ...]
    info: dict[str, Json]  # of the version to make
    folder: str

    @property
    def artifact(self) -> str:
        """The name of the artifact that gets the version."""
        return str(self.info["artifact"])

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.size for file in self.files)

    def check(self) -> None:
        """Raise DamagedEntry if the bytes are not those that were added."""
        for file in self.files:
            try:
                is_as_added = file.is_as_added()
            except OSError as error:
                raise DamagedEntry(
                    f"{file.path} in {self.folder} is missing: {error}. If the outbox was copied "
                    f"from another machine, copy it again with its links followed: cp -rL, tar -h "
                    f"or rsync -L."
                ) from None
            if not is_as_added:
                raise DamagedEntry(
                    f"{file.path} in {self.folder} was changed in place after it was saved, so it "
                    f"is not sent: expected {file.size} bytes with the digest {file.digest}, "
                    f"found others."
                )


def read_entry(number: int, folder: str) -> Entry | None:
    """Return an entry, or None if another process has just confirmed it; raises Damaged."""
    path = os.path.join(folder, RECORD)
    data = read_note(path)
    if data is None and os.path.isdir(folder):
        raise Damaged(f"{path} is missing")
    return None if data is None else entry_of(number, folder, _checked(unseal(data, path), folder))


def read_note(path: str) -> bytes | None:
    """Return the bytes of a small file of an entry, None if it is missing; raises Damaged."""
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_RECORD + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MOST_RECORD:
        raise Damaged(f"{path} is damaged: expected at most {MOST_RECORD} bytes, found more")
    return data


def entry_of(number: int, folder: str, record: Json) -> Entry:
    """Return the entry of a checked record."""
    places = (os.path.join(folder, FILES, str(n)) for n in itertools.count())
    return Entry(
        number=number,
        write_id=record["write_id"],
        destination=record["destination"],
        time=record["time"],
        files=tuple(
            EntryFile(path, place, *facts)
            for (path, *facts), place in zip(record["files"], places, strict=False)
        ),
        info=record["content"],
        folder=folder,
    )


def _checked(record: Json, folder: str) -> Json:
    """Return a record whose fields all have the right form; raises Damaged."""
    path = os.path.join(folder, RECORD)
    try:
        _check(record)
        _expect(folder.endswith(f"-{record['write_id']}"), "write_id")
    except (ValueError, KeyError, TypeError, InvalidPath) as error:
        raise Damaged(f"{path} is no entry of an outbox: {error!r}") from None
    return record


def _check(record: Json) -> None:
    for key in _TEXTS:
        _expect(type(record[key]) is str, key)
    check_moment(record["time"])
    for name, size, modified, *digests in record["files"]:
        is_typed = type(name) is str and type(size) is int and type(modified) is int
        _expect(is_typed and size >= 0, "files")
        _expect(len(digests) <= 1, "files")
        _expect(all(type(d) is str and DIGEST.fullmatch(d) for d in digests), "files")
    check_paths(name for name, *_ in record["files"])
    info = record["content"]
    _expect(type(info) is dict and is_word(info["artifact"]), "artifact")
    _expect(is_word(info.get("type", "model")), "type")
    aliases = info.get("aliases", [])
    _expect(type(aliases) is list and all(map(is_word, aliases)), "aliases")
    _expect(type(info.get("metadata", {})) is dict, "metadata")
    _expect(type(info.get("origin", {})) is dict, "origin")
    check_origin(info.get("origin", {}))
    if record["destination"].startswith("wandb:"):
        _check_upload(info)


def _check_upload(info: Json) -> None:
    """Check the facts that an upload to W&B needs in addition."""
    _expect(info["description"] is None or type(info["description"]) is str, "description")
    references = info["references"]
    _expect(type(references) is dict, "references")
    _expect(all(type(uri) is str for uri in references.values()), "references")
    _expect(type(info["ttl_seconds"]) in (int, float, type(None)), "ttl_seconds")
    _expect(type(info.get("history_step")) in (int, type(None)), "history_step")
    _expect({"base_url", "entity", "project", "run"} <= set(info["run"]), "run")


def _expect(is_right: bool, what: str) -> None:  # noqa: FBT001 - the one condition to check
    if not is_right:
        raise ValueError(f"{what} has a wrong value")

"""Finds the checkpoints in a folder of files, as Keras's ModelCheckpoint leaves it."""

from __future__ import annotations

import contextlib
import operator
import os
import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidInput, InvalidPath
from kept.exchange.importing.check import ENDINGS, check_file, facts_of
from kept.exchange.importing.guess import Named, Pattern, first_epoch, guess, name_values
from kept.exchange.importing.item import Facts, Item, Plan
from kept.names import portable_name
from kept.store.content.compare import holds
from kept.training.save.checkpoint_files import files_of, paths_of
from kept.units import time_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kept.store.version import Version

_SAVED_MODEL = "saved_model.pb"
_OF_KERAS_2 = "keras_metadata.pb"  # only Keras 2 writes it into a SavedModel
_INDEX = ".index"  # of a TensorFlow checkpoint
_DATA = re.compile(r"\.data-\d{5}-of-\d{5}$")
_STATE = "checkpoint"  # names the newest TensorFlow checkpoint in a folder
_MOST_DEEP = 8  # folders


@dataclass(frozen=True)
class Options:
    """What the user says about the names of the files."""

    pattern: str | None = None
    monitor: str | None = None
    first_epoch: int | None = None


class FileItem(Item):
    """A checkpoint on the disk: a file, a SavedModel, or a TensorFlow checkpoint."""

    def __init__(self, path: str, facts: Facts, *, is_known: bool) -> None:
        """Take the path, that of a TensorFlow checkpoint without .index.

        is_known says whether it has the ending of Keras's files, so it can be checked.
        """
        self.path, self.facts, self._is_known = path, facts, is_known

    @contextlib.contextmanager
    def files(self) -> Iterator[Sequence[str]]:
        """Check the file, and yield the paths; a name that no version can hold is replaced."""
        if os.path.isfile(self.path):
            if self._is_known:
                check_file(self.path)
        elif not os.path.isdir(self.path) and not _is_prefix(self.path):
            raise InvalidInput("it is no file, or a link to one that does not exist")
        paths = [path for path in paths_of(self.path) if os.path.basename(path) != _STATE]
        name = os.path.basename(self.path)
        if paths == [self.path] and portable_name(name) != name:
            with tempfile.TemporaryDirectory(prefix="kept-") as folder:
                link = os.path.join(folder, portable_name(name))
                os.symlink(os.path.abspath(self.path), link)
                yield [link]
            return
        yield paths

    def read_metadata(self) -> dict[str, Any]:
        """Return the format, the version of Keras that the file names, and the health."""
        if os.path.isdir(self.path):
            of_keras_2 = os.path.isfile(os.path.join(self.path, _OF_KERAS_2))
            return {"format": "saved_model"} | ({"keras_version": "2"} if of_keras_2 else {})
        if not os.path.isfile(self.path):
            return {"format": "tf_checkpoint"}
        return facts_of(self.path) if self._is_known else {}

    def is_in(self, version: Version) -> bool:
        """Return whether a version has the same bytes, whatever the dates of the files."""
        own = files_of(self.path)
        own.pop(_STATE, None)
        own = {portable_name(name) if "/" not in name else name: f for name, f in own.items()}
        held = {file.path: file for file in version.files}
        return held.keys() == own.keys() and holds(held, own)


def plan_folder(folder: str, name: str, options: Options) -> Plan:
    """Return the checkpoints of a folder, by epoch and then by time.

    Raises InvalidPath if the folder is missing or has none, or InvalidInput.
    """
    if not os.path.isdir(folder):
        what = "is no folder" if os.path.lexists(folder) else "does not exist"
        raise InvalidPath(f"A folder of checkpoints is expected, and it {what}. Received: {folder}")
    pattern = Pattern(_below(folder, options.pattern)) if options.pattern else None
    found, left_out = _found(folder, pattern)
    if not found:
        raise InvalidPath(_nothing(folder, pattern, left_out))
    first = first_epoch((named.epoch for named in found.values()), options.first_epoch)
    for named in found.values():
        name_values(named, options.monitor)
    items = [_item(folder, path, named, first) for path, named in found.items()]
    items.sort(key=_order)
    return Plan(name, items, left_out, list(_notes(found, first)))


def _below(folder: str, pattern: str) -> str:
    """Return a run's filepath without the folders that lead to this folder."""
    parts = pattern.split("/")
    place = list(filter(None, os.path.abspath(folder).split(os.sep)))
    for cut in range(len(parts) - 1, 0, -1):
        head = [part for part in parts[:cut] if part not in ("", ".")]
        if place[len(place) - len(head) :] == head:
            return "/".join(parts[cut:])
    return pattern


def _found(folder: str, pattern: Pattern | None) -> tuple[dict[str, Named], list[str]]:
    """Return the checkpoints with what their names say, and the other files."""
    if pattern is not None:
        paths = list(_paths(folder, pattern.depth))
        read = {path: pattern.read(path) or pattern.read(path + _INDEX) for path in paths}
        found = {path: named for path, named in read.items() if named is not None}
        return found, [path for path in paths if path not in found]
    paths = list(_paths(folder, 0))
    known = [path for path in paths if _is_checkpoint(folder, path)]
    stems = {path: _stem(path) for path in known}
    named = guess(dict.fromkeys(stems.values()))
    return {path: _copy(named[stem]) for path, stem in stems.items()}, [
        path for path in paths if path not in stems
    ]


def _copy(named: Named) -> Named:
    """Return what a name says, for one of several files of that name."""
    return Named(named.epoch, named.step, dict(named.metrics), list(named.unnamed))


def _paths(folder: str, depth: int, prefix: str = "") -> Iterator[str]:
    """Yield the files at a depth, by name; folders of SavedModel and TensorFlow as one path."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=operator.attrgetter("name"))
    names = {entry.name for entry in found}
    for entry in found:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if os.path.isfile(os.path.join(entry.path, _SAVED_MODEL)) and not depth:
                yield prefix + entry.name
            elif 0 < depth <= _MOST_DEEP:
                yield from _paths(entry.path, depth - 1, f"{prefix}{entry.name}/")
        elif depth:
            continue
        elif entry.name.endswith(_INDEX):
            yield prefix + entry.name.removesuffix(_INDEX)
        elif not (_DATA.search(entry.name) and _DATA.sub(_INDEX, entry.name) in names):
            yield prefix + entry.name


def _is_checkpoint(folder: str, path: str) -> bool:
    full = os.path.join(folder, path)
    return os.path.isdir(full) or path.endswith(ENDINGS) or _is_prefix(full)


def _is_prefix(full: str) -> bool:
    return not os.path.exists(full) and os.path.isfile(full + _INDEX)


def _stem(path: str) -> str:
    for ending in (*ENDINGS, ".ckpt"):
        if path.endswith(ending):
            return path.removesuffix(ending)
    return path


def _item(folder: str, path: str, named: Named, first: int) -> FileItem:
    full = os.path.join(folder, path)
    files = [found for found in files_of(full).values() if os.path.basename(found) != _STATE]
    size = newest = 0
    for file in files:
        with contextlib.suppress(OSError):  # a link to nothing: named when its turn comes
            found = os.stat(file)
            size, newest = size + found.st_size, max(newest, found.st_mtime_ns)
    epoch = None if named.epoch is None else named.epoch - first
    if epoch is not None and epoch < 0:
        raise InvalidInput(
            f"{path} has the epoch {named.epoch}, and the first epoch is said to be {first}. "
            f"Received: first_epoch={first}"
        )
    facts = Facts(
        label=path,
        origin={"file": path, "size": size, "modified_ns": newest},
        epoch=epoch,
        step=named.step,
        metrics=dict(named.metrics),
        saved_at=time_text(datetime.fromtimestamp(newest / 1e9, UTC)),
        size=size,
        note=", ".join(f"{value:g} has no name" for value in named.unnamed),
    )
    return FileItem(full, facts, is_known=path.endswith(ENDINGS))


def _order(item: FileItem) -> tuple[bool, int, int, int, str]:
    """Order by epoch, step and time; what has no epoch comes last, because it is mostly final."""
    facts = item.facts
    epoch = -1 if facts.epoch is None else facts.epoch
    step = -1 if facts.step is None else facts.step
    is_bare = facts.epoch is None and facts.step is None
    return is_bare, epoch, step, facts.origin["modified_ns"], facts.label


def _notes(found: dict[str, Named], first: int) -> Iterator[str]:
    if any(named.epoch is not None for named in found.values()):
        counts = "as Keras counts" if first == 1 else "because a name has epoch 0"
        yield (
            f"Epochs in names count from {first}, {counts}; versions count from 0. "
            "To change that: --first-epoch N"
        )
    unnamed = [named for named in found.values() if named.unnamed]
    if unnamed:
        yield (
            "Some numbers have no name, so they are not stored. Name the only one with "
            "--monitor, or all with the filepath of the run: "
            "--pattern 'weights.{epoch:02d}-{val_loss:.2f}.keras'"
        )


def _nothing(folder: str, pattern: Pattern | None, left_out: list[str]) -> str:
    names = ", ".join(left_out[:3]) or "no file"
    if below := sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()):
        folders = ", ".join(below[:3])
        names += f", and folders such as {folders}. Name one of them, or a pattern with /"
    if pattern is not None:
        return f"No file in {folder} has the form {pattern.text!r}. It holds: {names}"
    kinds = ".keras, .h5, .weights.h5, .hdf5, a SavedModel or a TensorFlow checkpoint"
    return f"There is no checkpoint ({kinds}) in the folder. It holds: {names}. Received: {folder}"

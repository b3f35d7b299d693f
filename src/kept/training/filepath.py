"""The filepath argument: checked before training, filled in when a checkpoint is due.

A checkpoint is written beside its place and moved there when it is whole, so under its final name
a file is complete or not there, and a write that fails leaves the file of before alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import string
import tempfile
from typing import TYPE_CHECKING, Any

from kept.bucket.local import sync_file, sync_folder, write_file
from kept.errors import InvalidCheckpoint, InvalidPath
from kept.names import check_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kept.store.content import MemoryFile

_WEIGHTS = ".weights.h5"
_FORMATS = {".keras": "keras", ".h5": "h5"}


class FilePath:
    """A path with format options such as {epoch:02d} and {val_loss:.2f}.

    epoch and batch count from 1, as Keras's callback fills them in.
    """

    def __init__(
        self, filepath: str | os.PathLike[str], *, weights_only: bool, has_batch: bool
    ) -> None:
        """Check the path; raises InvalidCheckpoint.

        has_batch says whether a batch number is known when a checkpoint is due.
        """
        self.template = os.fspath(filepath)
        if not isinstance(self.template, str) or not self.template:
            raise InvalidCheckpoint(
                f"filepath is a text or a path, and not empty. Received: filepath={filepath!r}"
            )
        if "://" in self.template:
            raise InvalidCheckpoint(
                "filepath is a path on this machine; where the versions are kept is said by store. "
                f"Received: filepath={self.template!r}"
            )
        self.format = _format(self.template, weights_only=weights_only)
        self._check_options(has_batch=has_batch)
        self._check_place()

    def fill(self, epoch: int, batch: int | None, logs: Mapping[str, Any]) -> str:
        """Return the path for a checkpoint; epoch and batch count from 0.

        Raises InvalidCheckpoint if the path asks for a metric that there is not.
        """
        values = {"epoch": epoch + 1} | ({} if batch is None else {"batch": batch + 1}) | dict(logs)
        try:
            return self.template.format(**values)
        except (KeyError, ValueError, TypeError) as error:
            raise InvalidCheckpoint(
                f"filepath cannot be filled in ({type(error).__name__}: {error}). "
                f"There are: {', '.join(sorted(values))}. Received: filepath={self.template!r}"
            ) from None

    def plain(self) -> str:
        """Return a path in the same folder, with the same ending and without options."""
        folder = os.path.dirname(self.template.partition("{")[0])
        return os.path.join(folder, f"checkpoint.{self.format}")

    def _check_options(self, *, has_batch: bool) -> None:
        try:
            fields = [
                (f, s) for _, f, s, _ in string.Formatter().parse(self.template) if f is not None
            ]
        except ValueError as error:
            raise self._bad(str(error)) from None
        for field, spec in fields:
            if not field or field.isdecimal() or "." in field or "[" in field:
                raise self._bad("an option needs a name, such as {epoch} or {val_loss}")
            if field == "batch" and not has_batch:
                raise self._bad("{batch} is known only with an integer save_freq")
            try:
                format(1 if field in ("epoch", "batch") else 1.0, spec or "")
            except ValueError as error:
                raise self._bad(f"{{{field}:{spec}}}: {error}") from None

    def _check_place(self) -> None:
        name = os.path.basename(self.template)
        try:
            check_path(name.replace("{", "").replace("}", "").replace(":", "") or name)
        except InvalidPath as error:
            raise self._bad(str(error)) from None
        if os.path.isdir(self.template):
            raise self._bad("it is a folder; name a file in it")
        # The x stands for the first option, which can be in a file's or in a folder's name.
        folder = os.path.dirname(os.path.abspath(self.template.partition("{")[0] + "x"))
        while not os.path.exists(folder):
            folder = os.path.dirname(folder)
        if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
            raise self._bad(f"nothing can be written in {folder}")

    def _bad(self, reason: str) -> InvalidCheckpoint:
        return InvalidCheckpoint(
            f"filepath cannot be used: {reason}. Received: filepath={self.template!r}"
        )


def _format(template: str, *, weights_only: bool) -> str:
    """Return the name of the format by the path's ending."""
    if weights_only:
        if template.endswith(_WEIGHTS):
            return "weights.h5"
        raise InvalidCheckpoint(
            "With save_weights_only=True the filepath provided must end in .weights.h5. "
            f"Received: filepath={template!r}"
        )
    for ending, name in _FORMATS.items():
        if template.endswith(ending):
            return name
    raise InvalidCheckpoint(
        "The filepath provided must end in .keras (or .h5), or in .weights.h5 with "
        f"save_weights_only=True. Received: filepath={template!r}"
    )


@contextlib.contextmanager
def beside(path: str) -> Iterator[str]:
    """Yield a path with the same file name in a new folder beside path, for writing to.

    The folder and what is left in it are removed at the end.
    """
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    workspace = tempfile.mkdtemp(prefix=".kept-", dir=folder)
    try:
        yield os.path.join(workspace, os.path.basename(path))
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def bring_to_disk(file: MemoryFile | str, place: str) -> None:
    """Have a file at the place that beside gave, all its bytes on the disk."""
    if isinstance(file, str):
        sync_file(place)
    elif not os.path.exists(place):
        write_file(place, file.parts)


def publish(file: MemoryFile | str, place: str, path: str) -> None:
    """Have a file appear under its final name, durably; place is the one that beside gave.

    Disks give their time to what comes first, so this is for after the commit.
    """
    bring_to_disk(file, place)
    os.replace(place, path)
    sync_folder(os.path.dirname(os.path.abspath(path)))

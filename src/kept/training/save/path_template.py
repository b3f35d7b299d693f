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

from kept.bucket.file_io import sync_folder, write_file
from kept.errors import InvalidCheckpoint, InvalidPath
from kept.names import check_path
from kept.training.keras_api.formats import check_options, choose_format
from kept.training.save import checkpoint_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kept.store.content.file_source import MemoryFile
    from kept.training.keras_api.adapter import KerasAdapter


class PathTemplate:
    """A path with format options such as {epoch:02d} and {val_loss:.2f}.

    epoch and batch count from 1, as Keras's callback fills them in.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        edition: KerasAdapter,
        options: Any = None,
        *,
        weights_only: bool,
        has_batch: bool,
    ) -> None:
        """Check the path; raises InvalidCheckpoint.

        options is Keras's argument of that name. has_batch says whether a batch number is known
        when a checkpoint is due.
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
        self._edition, self._options = edition, options
        self.format = choose_format(
            self.template, edition.package, edition.framework, weights_only=weights_only
        )
        check_options(options, self.format)
        self._check_options(has_batch=has_batch)
        self._check_place()

    @property
    def cannot_snapshot(self) -> str | None:
        """Why a file cannot be written while training goes on, None if it can."""
        if self.format.is_file:
            return self._edition.cannot_snapshot
        return f"{self.format.noun} cannot be written of a model as it was a moment ago"

    @property
    def told(self) -> dict[str, str]:
        """What the metadata of every version tell of the files."""
        return {
            "format": self.format.name,
            "framework": self._edition.framework,
            "keras_version": self._edition.version,
        }

    def write(self, model: Any, path: str) -> None:
        """Save the live model to a path that this one was filled in to, or one beside it."""
        self._edition.write(model, path, self.format, self._options)

    def check_resume(self, resume: bool | str) -> bool | str:  # noqa: FBT001 - a callback's option
        """Return the option resume; raises InvalidCheckpoint for a format that has no state."""
        if resume and not self.format.is_file:
            raise InvalidCheckpoint(
                f"{self.format.noun} cannot be resumed from. End filepath in .keras or "
                f".weights.h5, or leave resume out. Received: resume={resume!r}"
            )
        return resume

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
        name = f"checkpoint.{self.format.name}" if self.format.is_file else "checkpoint-aside"
        return os.path.join(folder, name)

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
            if not self.format.is_folder:
                raise self._bad("it is a folder; name a file in it")
            try:
                checkpoint_files.check_replaceable(self.template)
            except InvalidPath as error:
                raise self._bad(str(error)) from None
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
    """Have a checkpoint at the place that beside gave, all its bytes on the disk."""
    if isinstance(file, str):
        checkpoint_files.sync(place)
    elif not os.path.exists(place):
        write_file(place, file.parts)


def publish(file: MemoryFile | str, place: str, path: str) -> None:
    """Have a checkpoint appear under its final name, durably; place is the one that beside gave.

    Disks give their time to what comes first, so this is for after the commit.
    """
    bring_to_disk(file, place)
    checkpoint_files.move(place, path)
    sync_folder(os.path.dirname(os.path.abspath(path)))

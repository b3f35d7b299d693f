"""The filepath argument: checked before training, filled in for each checkpoint."""

from __future__ import annotations

import os
import re
import string
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidCheckpoint
from kept.names import suggestion
from kept.training.keras_api.formats import check_options, choose_format
from kept.training.save import checkpoint_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kept.training.keras_api.adapter import KerasAdapter

_MOST_BYTES = 255  # of a file's name, on the file systems of Linux and macOS


class PathTemplate:
    """A path with format options such as {epoch:02d} and {val_loss:.2f}.

    epoch and batch count from 1, as Keras's callback fills them in. Each controller has a template
    of its own, which follows the attribute filepath of the callback.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        adapter: KerasAdapter,
        options: Any = None,
        *,
        weights_only: bool,
        has_batch: bool,
    ) -> None:
        """Check the path; raises InvalidCheckpoint.

        options is Keras's argument of that name. has_batch says whether each checkpoint has a
        batch number.
        """
        self.given = self.template = as_text(filepath)
        if "://" in self.template:
            raise InvalidCheckpoint(
                "filepath is a path on this machine; store says where versions are kept. "
                f"Received: filepath={self.template!r}"
            )
        self._adapter, self._options = adapter, options
        self.weights_only, self._has_batch = weights_only, has_batch
        self.format = choose_format(
            self.template, adapter.package, adapter.framework, weights_only=weights_only
        )
        check_options(options, self.format, adapter.package)
        if not self.format.is_prefix:  # w/ is a prefix without a name in the folder w
            self.template = self.template.rstrip("/") or self.template
        self._check_options(has_batch=has_batch)
        self._check_place()

    def changed(self, callback: Any) -> PathTemplate | None:
        """Return the template for what the user set since, or None if that is nothing.

        Reads filepath, save_weights_only and save_freq. Raises InvalidCheckpoint.
        """
        filepath, weights_only = as_text(callback.filepath), bool(callback.save_weights_only)
        has_batch = callback.save_freq != "epoch"
        before = (self.given, self.weights_only, self._has_batch)
        if (filepath, weights_only, has_batch) == before:
            return None
        return PathTemplate(
            filepath,
            self._adapter,
            self._options,
            weights_only=weights_only,
            has_batch=has_batch,
        )

    def become(self, other: PathTemplate) -> None:
        """Take over another template; for the training thread, while no checkpoint is written."""
        vars(self).update(vars(other))

    @property
    def cannot_snapshot(self) -> str | None:
        """Why a file cannot be written while training continues, None if it can."""
        if self.format.is_file:
            return self._adapter.cannot_snapshot
        return f"{self.format.noun} cannot be written from a snapshot of the model"

    @property
    def metadata(self) -> dict[str, str]:
        """What the metadata of every version say about its files."""
        return {
            "format": self.format.name,
            "framework": self._adapter.framework,
            "keras_version": self._adapter.version,
        }

    def name_metadata(self, path: str) -> dict[str, str]:
        """Return what the metadata say about a file that has another name in its version."""
        name = os.path.basename(path)
        if self.format.is_folder or checkpoint_files.stored_name(path) == name:
            return {}
        return {"file_name": os.fsencode(name).decode(errors="backslashreplace")}

    def write(self, model: Any, path: str) -> None:
        """Save the live model to a path that fill returned, or to one beside it."""
        self._adapter.write(model, path, self.format, self._options)

    def check_resume(self, resume: bool | str) -> bool | str:  # noqa: FBT001 - a callback's option
        """Return the option resume; raises InvalidCheckpoint for a format without state."""
        if resume and not self.format.is_file:
            raise InvalidCheckpoint(
                f"{self.format.noun} cannot be resumed. End filepath in .keras or "
                f".weights.h5, or leave resume out. Received: resume={resume!r}"
            )
        return resume

    def fill(self, epoch: int, batch: int | None, logs: Mapping[str, Any]) -> str:
        """Return the path for a checkpoint; epoch and batch count from 0.

        Raises InvalidCheckpoint if the path needs a metric that the logs lack.
        """
        own = {"epoch": epoch + 1} | ({} if batch is None else {"batch": batch + 1})
        values = own | {name: value for name, value in logs.items() if isinstance(name, str)}
        try:
            filled: str = self.template.format(**values)
        except (KeyError, ValueError, TypeError) as error:
            raise InvalidCheckpoint(
                f"filepath cannot be filled in ({type(error).__name__}: {error}). "
                f"Available: {', '.join(sorted(values))}{self._suggestions(values)}. "
                f"Received: filepath={self.template!r}"
            ) from None
        return filled

    def _suggestions(self, known: Iterable[str]) -> str:
        return "".join(suggestion(n, known).rstrip("?") for n in sorted(self.names - {*known}))

    @property
    def names(self) -> set[str]:
        """The names of the format options."""
        return {f for _, f, _, _ in string.Formatter().parse(self.template) if f is not None}

    @property
    def fixed(self) -> str | None:
        """The path of every checkpoint, or None if format options make different ones."""
        fixed: str = self.template.format() if not self.names else ""
        return fixed or None

    def plain(self) -> str:
        """Return a path in the same folder, with the same ending and without format options."""
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
            if _is_misspelled(field):
                raise self._bad(f"{{{field}}} is unknown{suggestion(field, ('epoch', 'batch'))}")
            try:
                format(1 if field in ("epoch", "batch") else 1.0, spec or "")
            except ValueError as error:
                raise self._bad(f"{{{field}:{spec}}}: {error}") from None

    def _example(self) -> str:
        """Return the path of a checkpoint with 1 for each value."""
        text = ""
        for literal, field, spec, _ in string.Formatter().parse(self.template):
            value = 1 if field in ("epoch", "batch") else 1.0
            text += literal + ("" if field is None else format(value, spec or ""))
        return text

    def _check_place(self) -> None:
        name, is_file = os.path.basename(self._example()), self.format.is_file
        if len(os.fsencode(name)) > _MOST_BYTES or "\0" in name:
            raise self._bad(f"a file's name has 1 to {_MOST_BYTES} bytes")
        if os.path.isfile(self.template) and not os.access(self.template, os.W_OK):
            raise self._bad("the file there is read-only")
        if is_file and os.path.isdir(self.template):
            raise self._bad("it is a folder; name a file in it")
        # The x stands for the first format option, in the name of a file or a folder.
        folder = os.path.dirname(os.path.abspath(self.template.partition("{")[0] + "x"))
        if self.format.is_folder and os.path.isdir(self.template):
            folder = self.template
        while not os.path.exists(folder):
            folder = os.path.dirname(folder)
        if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
            raise self._bad(f"nothing can be written in {folder}")

    def _bad(self, reason: str) -> InvalidCheckpoint:
        return InvalidCheckpoint(
            f"filepath cannot be used: {reason}. Received: filepath={self.template!r}"
        )


def as_text(filepath: Any) -> str:
    """Return the argument filepath as a text; raises InvalidCheckpoint for what is no path."""
    text = os.fspath(filepath) if isinstance(filepath, os.PathLike) else filepath
    if not isinstance(text, str) or not text:
        raise InvalidCheckpoint(
            f"filepath is a text or a path, and not empty. Received: filepath={filepath!r}"
        )
    return text


def _is_misspelled(name: str) -> bool:
    """Return whether a name has the letters of epoch or batch in another order, or counts."""
    own = ("epoch", "batch")
    if re.fullmatch(r"(epoch|batch)\s*[-+*/%]\s*\d+", name):  # a format option cannot compute
        return True
    return name not in own and sorted(name.lower()) in [sorted(one) for one in own]

"""What becomes of a checkpoint that could not be saved: on_error="raise" or "warn"."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING

from kept.errors import SaveFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.training.save.writer import Writer


class FailurePolicy:
    """Reports each failure once: it raises the error, which ends the fit, or warns of it."""

    def __init__(self, writer: Writer, on_error: str) -> None:
        self._writer, self._raises = writer, on_error == "raise"
        self._has_raised = False  # in the fit before, or in this one

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Raise a SaveFailed that the block raises, or warn of it."""
        try:
            yield
        except SaveFailed as error:
            if self._raises:
                self._has_raised = True
                raise
            warnings.warn(f"training continues without it: {error}", stacklevel=3)

    def report(self) -> None:
        """Raise the oldest failure of the writer thread, or warn of all of them."""
        while self._writer.has_failed:
            with self.applied():
                self._writer.raise_failure()

    def begin(self) -> None:
        """Report what the fit before left; for on_train_begin.

        If a failure ended that fit, the user knows it, so its other failures only warn.
        """
        while self._has_raised:
            try:
                self._has_raised = not self._writer.wait()
            except SaveFailed as error:
                warnings.warn(f"of the fit before, too: {error}", stacklevel=2)
        self.report()

"""What becomes of a checkpoint that could not be saved: on_error="raise" or "warn"."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from kept.errors import SaveFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from kept.training.save.writer import Writer


class FailurePolicy:
    """Tells the user of each failure once: by raising it, which ends the fit, or by a warning."""

    def __init__(self, writer: Writer, on_error: str) -> None:
        self._writer, self._is_raised = writer, on_error == "raise"
        self._has_raised = False  # in the fit before, or in this one

    def of(self, call: Callable[[], object]) -> None:
        """Call what saves; raise that it has failed, or warn of it."""
        try:
            call()
        except SaveFailed as error:
            if self._is_raised:
                self._has_raised = True
                raise
            warnings.warn(f"training goes on without it: {error}", stacklevel=2)

    def tell(self) -> None:
        """Raise the oldest failure of the background, or warn of all, if there are any."""
        while self._writer.has_failed:
            self.of(self._writer.raise_failure)

    def begin(self) -> None:
        """At the beginning of a fit: do the same with what the one before has left.

        Where a failure has ended that one, the user knows, and others of it end this one no more.
        """
        while self._has_raised:
            try:
                self._has_raised = not self._writer.wait()
            except SaveFailed as error:
                warnings.warn(f"of the fit before, too: {error}", stacklevel=2)
        self.tell()

"""A progress bar for long work: on stderr, only on a terminal, and only after a second."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress, TaskID

Unit = Literal["bytes", "versions"]
_PATIENCE = 1.0  # seconds; a bar that flashes up and goes is only unrest


@contextlib.contextmanager
def progress(label: str, unit: Unit | None = None) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that is told how much is done, of how much.

    Without a unit nothing is told, and the bar only shows that the work goes on.
    """
    bar = _Bar(label, unit)
    timer = threading.Timer(_PATIENCE, bar.show)
    timer.daemon = True
    if sys.stderr.isatty():
        timer.start()
    try:
        yield bar.update
    finally:
        timer.cancel()
        bar.end()


class _Bar:
    """Shown by the timer's thread, moved and ended by the worker's."""

    def __init__(self, label: str, unit: Unit | None) -> None:
        self._label, self._unit = label, unit
        self._at: tuple[int, int | None] = (0, None)
        self._shown: tuple[Progress, TaskID] | None = None
        self._ended = False
        self._lock = threading.Lock()

    def show(self) -> None:
        with self._lock:
            if not self._ended:
                bar = _drawn(self._unit)
                done, total = self._at
                self._shown = bar, bar.add_task(self._label, completed=done, total=total)
                bar.start()

    def update(self, done: int, total: int) -> None:
        self._at = (done, total)
        if self._shown:
            bar, task = self._shown
            bar.update(task, completed=done, total=total)

    def end(self) -> None:
        with self._lock:
            self._ended = True
            if self._shown:
                self._shown[0].stop()


def _drawn(unit: Unit | None) -> Progress:
    from rich import progress as parts
    from rich.console import Console

    amounts = {"bytes": parts.DownloadColumn, "versions": parts.MofNCompleteColumn}
    return parts.Progress(
        parts.TextColumn("{task.description}", markup=False),
        parts.BarColumn(),
        *([amounts[unit]()] if unit else []),
        parts.TimeElapsedColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )

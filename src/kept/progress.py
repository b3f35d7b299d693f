"""Shows a progress bar for long work: on stderr, on a terminal, and only after a second.

If stderr is no terminal, it prints a plain line from time to time.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING, Literal

from kept.messages import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress, TaskID

Unit = Literal["bytes", "versions", "blobs", "artifacts", "records"]
_PATIENCE = 1.0  # seconds; a bar that only flashes up would disturb
_PAUSE = 30.0  # seconds between lines
_LABEL = 32  # columns, on a terminal of 80
_BAR = 8  # columns of the bar itself, with the spaces around it
_ALL, _FEW = 68, 50  # columns of a terminal that shows all numbers, or all except the speed
_bars: list[_Bar] = []  # that are on the terminal


@contextlib.contextmanager
def progress(label: str, unit: Unit | None = None) -> Iterator[Callable[[int, int], None]]:
    """Show a bar, and yield a function to update it with the amounts done and in all.

    Without a unit the bar only shows that the work continues. For bytes it also shows the speed and
    the time left.
    """
    if not sys.stderr.isatty():
        yield _Lines(label, unit).update
        return
    bar = _Bar(label, unit)
    timer = threading.Timer(_PATIENCE, bar.show)
    timer.daemon = True
    timer.start()
    try:
        yield bar.update
    finally:
        timer.cancel()
        bar.end()


def say(text: str) -> None:
    """Print a line on stderr, above the bar if one is shown."""
    if not any(bar.say(text) for bar in _bars[-1:]):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


class _Lines:
    """For logs and pipes: prints nothing for work of less than half a minute."""

    def __init__(self, label: str, unit: Unit | None) -> None:
        self._label, self._unit = label, unit
        self._began = self._printed = time.monotonic()

    def update(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._unit and now - self._printed >= _PAUSE:
            self._printed = now
            stderr = harmless(sys.stderr)
            stderr.write(f"{self._label}: {self._amount(done, total, now)}\n")
            stderr.flush()

    def _amount(self, done: int, total: int, now: float) -> str:
        if self._unit != "bytes":
            return f"{done} of {total} {self._unit}"
        speed = done / (now - self._began)
        left = f", {_time_left((total - done) / speed)} left" if done else ""
        return f"{done / 1e6:.1f} of {total / 1e6:.1f} MB, {speed / 1e6:.1f} MB/s{left}"


class _Bar:
    """The timer's thread shows it; the worker's thread moves and ends it."""

    def __init__(self, label: str, unit: Unit | None) -> None:
        self._label, self._unit = label, unit
        self._at: tuple[int, int | None] = (0, None)
        self._shown: tuple[Progress, TaskID] | None = None
        self._ended = False
        self._lock = threading.Lock()

    def show(self) -> None:
        with self._lock:
            if not self._ended:
                bar, room = _drawn(self._unit)
                done, total = self._at
                label = _fitting(self._label, room)
                self._shown = bar, bar.add_task(label, completed=done, total=total)
                bar.start()
                _bars.append(self)

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
                _bars.remove(self)

    def say(self, text: str) -> bool:
        """Print a line above the bar; return whether the bar is still shown."""
        with self._lock:
            if self._shown is None or self._ended:
                return False
            self._shown[0].console.print(text, markup=False, highlight=False)
            return True


def _time_left(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def _fitting(label: str, room: int) -> str:
    return label if len(label) <= room else f"{label[: room // 2]}…{label[1 - room // 2 :]}"


def _drawn(unit: Unit | None) -> tuple[Progress, int]:
    """Return the bar for the terminal's width, and how many columns its label may have."""
    from rich import progress as parts
    from rich.console import Console
    from rich.table import Column

    console = Console(file=harmless(sys.stderr))
    line = Column(no_wrap=True)  # rich would wrap the numbers
    elapsed = parts.TimeElapsedColumn(table_column=line)
    numbers: list[parts.ProgressColumn] = [elapsed]
    taken = 8  # columns
    if unit == "bytes" and console.width < _FEW:
        numbers, taken = [parts.TaskProgressColumn()], 5
    elif unit == "bytes":
        amount, left = (
            parts.DownloadColumn(table_column=line),
            parts.TimeRemainingColumn(table_column=line),
        )
        has_room = console.width >= _ALL
        speed = [parts.TransferSpeedColumn(table_column=line)] if has_room else []
        numbers, taken = [amount, *speed, left], 37 if has_room else 26
    elif unit:
        numbers, taken = [parts.MofNCompleteColumn(table_column=line), elapsed], 22
    bar = parts.Progress(
        parts.TextColumn("{task.description}", markup=False),
        parts.BarColumn(bar_width=None),
        *numbers,
        console=console,
        transient=True,
        expand=True,
    )
    return bar, min(_LABEL, max(console.width - taken - _BAR, _BAR))

"""Shows a progress bar for long work: on stderr, on a terminal, and only after a second.

In a notebook it displays a bar, and removes it at the end. If stderr is neither, it prints a plain
line from time to time.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from importlib import import_module
from sys import modules
from typing import TYPE_CHECKING, Any, Literal

from kept.messages import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress, TaskID

Unit = Literal["bytes", "versions", "blobs", "artifacts", "records"]
_PATIENCE = 1.0  # seconds; a bar that only flashes up would disturb
_PAUSE = 30.0  # seconds between lines
_REDRAWN = 0.3  # seconds between two states of a bar in a notebook
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
    if _is_notebook():
        shown = _Notebook(label, unit)
        try:
            yield shown.update
        finally:
            shown.end()
        return
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
            stderr.write(f"{self._label}: {self.amount(done, total, now)}\n")
            stderr.flush()

    def amount(self, done: int, total: int, now: float) -> str:
        """Return how much is done, and for bytes the speed and the time left."""
        if self._unit != "bytes":
            return f"{done} of {total} {self._unit}"
        speed = done / (now - self._began)
        left = f", {_time_left((total - done) / speed)} left" if done else ""
        return f"{done / 1e6:.1f} of {total / 1e6:.1f} MB, {speed / 1e6:.1f} MB/s{left}"


class _Notebook:
    """A bar of HTML that its own display replaces, and that is empty at the end.

    It needs IPython alone, which runs the cell. The bars of rich and tqdm need ipywidgets as well,
    and without it they print a warning into the cell.
    """

    def __init__(self, label: str, unit: Unit | None) -> None:
        self._label, self._lines = label, _Lines(label, unit)
        self._has_unit = unit is not None
        self._shown_at = time.monotonic() + _PATIENCE - _REDRAWN
        self._handle: Any = None

    def update(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._shown_at < _REDRAWN:
            return
        from html import escape

        self._shown_at = now
        amount = self._lines.amount(done, total, now) if self._has_unit else ""
        part = f' value="{done}" max="{total}"' if self._has_unit and total else ""
        self._show(f"{escape(self._label)} <progress{part}></progress> {escape(amount)}")

    def end(self) -> None:
        if self._handle is not None:
            self._show("")

    def _show(self, html: str) -> None:
        with contextlib.suppress(Exception):  # no work fails for what is shown beside it
            ipython: Any = import_module("IPython.display")
            if self._handle is None:
                self._handle = ipython.display(ipython.HTML(html), display_id=True)
            else:
                self._handle.update(ipython.HTML(html))


def _is_notebook() -> bool:
    """Return whether a cell of a notebook runs this; nothing is imported for it."""
    module = modules.get("IPython")
    shell = module.get_ipython() if module and hasattr(module, "get_ipython") else None
    return getattr(shell, "kernel", None) is not None


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

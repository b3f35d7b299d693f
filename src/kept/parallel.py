"""Runs many slow calls at once, with bounded memory.

Not a ThreadPoolExecutor: that accepts no work once the interpreter has begun to exit, and a dying
process writes its last checkpoint exactly then.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")


class _Errors(list[BaseException]):
    """Context manager that collects what its block raises; the calling thread raises it later."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if error is not None:
            self.append(error)
        return True


def in_threads(work: Callable[[T], object], items: Iterable[T], threads: int) -> None:
    """Call work for every item from a few threads; raise the first error after all have stopped.

    The threads take turns at the iterable, so at most one item per thread is in memory.
    """
    iterator, lock, errors = iter(items), threading.Lock(), _Errors()

    def run() -> None:
        with errors, contextlib.suppress(StopIteration):
            while not errors:
                with lock:
                    item = next(iterator)
                work(item)
                del item  # not held while the iterable makes the next one

    begun = [threading.Thread(target=run, name="kept-put") for _ in range(threads)]
    with errors:  # Ctrl-C: the threads stop after their current item
        if len(_start(begun)) < threads:
            run()
    _join(begun, errors)
    if errors:
        raise errors[0]


def _start(threads: list[threading.Thread]) -> list[threading.Thread]:
    """Start as many as the interpreter allows: none, for example, when Python 3.12+ exits."""
    started: list[threading.Thread] = []
    with contextlib.suppress(RuntimeError):
        for thread in threads:
            thread.start()
            started.append(thread)
    return started


def _join(threads: list[threading.Thread], errors: _Errors) -> None:
    """Wait until all threads have ended, however often Ctrl-C is pressed; collect each press."""
    while any(thread.is_alive() for thread in threads):
        with errors:
            for thread in threads:
                if thread.ident is not None:  # it was started
                    thread.join()


def mapped(work: Callable[[T], R], items: Iterable[T], at_once: int) -> Iterator[R]:
    """Yield work(item) for every item, in order; up to at_once calls run ahead."""
    if at_once <= 1:
        yield from map(work, items)
        return
    begun = deque[_Begun[R]]()
    try:
        for item in items:
            begun.append(_Begun(work, item))
            if len(begun) == at_once:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for left in begun:
            left.wait()


def within(seconds: float, call: Callable[[], R]) -> R:
    """Return the result of a call; if it takes longer, raise TimeoutError and leave it running.

    The process ends only after the call, because no thread may be inside obstore then.
    """
    begun = _Begun(lambda _: call(), None, daemon=False)
    begun.wait(seconds)
    return begun.result(wait=False)


class _Begun(threading.Thread, Generic[R]):
    """One call in its own thread: starting one takes 0.1 ms, a round trip takes many."""

    def __init__(self, work: Callable[[T], R], item: T, *, daemon: bool = True) -> None:
        super().__init__(name="kept-get", daemon=daemon)
        self._call: Callable[[], R] = lambda: work(item)
        self._result: R | None = None
        self._errors = _Errors()
        if not _start([self]):
            self.run()

    def run(self) -> None:
        with self._errors:
            self._result = self._call()

    def wait(self, seconds: float | None = None) -> None:
        """Wait for the end of the call; without a thread it has ended already."""
        if self.ident is not None:
            self.join(seconds)

    def result(self, *, wait: bool = True) -> R:
        """Return the result of the call or raise its error; TimeoutError if it has not ended."""
        if wait:
            self.wait()
        if self.is_alive():
            raise TimeoutError
        if self._errors:
            raise self._errors[0]
        return cast("R", self._result)

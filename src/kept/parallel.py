"""Doing many slow things at once, with bounded memory.

Not a ThreadPoolExecutor: that takes no work once the interpreter has begun to exit, and the last
checkpoint of a dying process is written just then.
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


def in_threads(work: Callable[[T], object], items: Iterable[T], threads: int) -> None:
    """Call work for every item from a few threads; raise the first error after all have stopped.

    The threads take turns at the iterable, so at most one item a thread is in memory.
    """
    iterator, lock, errors = iter(items), threading.Lock(), list[BaseException]()

    def run() -> None:
        try:
            while not errors:
                with lock:
                    item = next(iterator)
                work(item)
                del item  # not held while the next one is made
        except StopIteration:
            pass
        except BaseException as error:  # noqa: BLE001 - raised below, in the calling thread
            errors.append(error)

    begun = [threading.Thread(target=run, name="kept-put") for _ in range(threads)]
    try:
        if len(_start(begun)) < threads:
            run()
    except BaseException as error:  # noqa: BLE001 - Ctrl-C: they stop after the item in hand
        errors.append(error)
    _join(begun, errors)
    if errors:
        raise errors[0]


def _start(threads: list[threading.Thread]) -> list[threading.Thread]:
    """Start as many as can be had: none, say, when an interpreter since 3.12 exits."""
    started: list[threading.Thread] = []
    with contextlib.suppress(RuntimeError):
        for thread in threads:
            thread.start()
            started.append(thread)
    return started


def _join(threads: list[threading.Thread], errors: list[BaseException]) -> None:
    """Wait until none of the threads is alive, however often Ctrl-C is pressed; note that."""
    while any(thread.is_alive() for thread in threads):
        try:
            for thread in threads:
                if thread.ident is not None:  # it was started
                    thread.join()
        except BaseException as error:  # noqa: BLE001 - raised by the caller
            errors.append(error)


def mapped(work: Callable[[T], R], items: Iterable[T], at_once: int) -> Iterator[R]:
    """Yield work(item) for every item, in order, with so many begun before they are asked for."""
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


class _Begun(threading.Thread, Generic[R]):
    """One call in a thread of its own: starting one takes 0.1 ms, a round trip takes many."""

    def __init__(self, work: Callable[[T], R], item: T) -> None:
        super().__init__(name="kept-get", daemon=True)
        self._call: Callable[[], R] = lambda: work(item)
        self._result: R | None = None
        self._error: BaseException | None = None
        if not _start([self]):
            self.run()

    def run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001 - raised by result, in the calling thread
            self._error = error

    def wait(self) -> None:
        """Return when the call is over; it is at once where there was no thread to be had."""
        if self.ident is not None:
            self.join()

    def result(self) -> R:
        self.wait()
        if self._error is not None:
            raise self._error
        return cast("R", self._result)

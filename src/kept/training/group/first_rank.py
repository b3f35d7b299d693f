"""The first rank's side of announce.py, and that of a process without others."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from kept.errors import SaveFailed
from kept.training.group import announce
from kept.training.group.announce import (
    END_OF_FIT,
    MEETING,
    Begun,
    Openings,
    Place,
    SharedSave,
    check_all,
    signal_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.training.group.base import Group


class Lead(Protocol):
    """What a controller does for other ranks: nothing if there are none."""

    group: Group | None
    fit: int  # the number of the fit in its group

    @property
    def is_preempted(self) -> bool:
        """Whether another rank got SIGTERM."""

    def begun(self, begun: Begun) -> None:
        """Announce what the fit uses; raises GroupError if a rank does not see the store."""

    def is_open(self, batch: int | None) -> bool:
        """Return whether a hook may save, raise an error or leave."""

    def hook(self, place: Place) -> contextlib.AbstractContextManager[None]:
        """Announce what the block does, at its end."""

    def save(self, *, with_state: bool) -> SharedSave | None:
        """Announce a save; with_state asks the other ranks for the states of their runs."""

    def stop(self) -> None:
        """Announce that the training ends after the batch or epoch of this hook."""

    def batches_until_save(self, count: float) -> None:
        """Take how many batches the next save by save_freq is away."""


class Alone:
    """A process without others; see Lead."""

    group: Group | None = None
    fit = 0
    is_preempted = False

    def begun(self, begun: Begun) -> None:
        pass

    def is_open(self, batch: int | None) -> bool:  # noqa: ARG002
        return True

    def hook(self, place: Place) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002
        return contextlib.nullcontext()

    def save(self, *, with_state: bool) -> None:
        pass

    def stop(self) -> None:
        pass

    def batches_until_save(self, count: float) -> None:
        pass


class FirstRank:
    """Announces the decisions of the first rank; see Lead."""

    def __init__(self, group: Group, fit: int) -> None:
        self.group: Group | None = group
        self._group, self.fit = group, fit
        self._channel = group.channel(f"{fit}/decisions")
        self._number = self._hooks = 0
        self._openings = Openings()
        self._sending = threading.Lock()
        self._is_inside = False  # an open hook
        self._left = float("inf")
        self._last = (time.monotonic(), -1)  # when a batch ended, and which
        self._place = END_OF_FIT

    @property
    def is_preempted(self) -> bool:
        """See Lead."""
        try:
            return bool(self._group.transport.get(signal_key(self.fit), 0.0))
        except TimeoutError:
            return False

    def is_open(self, batch: int | None) -> bool:
        """See Lead."""
        return self._openings.is_open(batch)

    @contextlib.contextmanager
    def hook(self, place: Place) -> Iterator[None]:
        """See Lead."""
        if not self.is_open(place.batch):
            yield
            return
        self._place, self._is_inside = place, True
        waiting = self._report_waiting()
        try:
            yield
        except SystemExit as error:
            self._send({"leave": error.code})
            raise
        except BaseException as error:
            kind = "save" if isinstance(error, SaveFailed) else "other"
            self._send({"error": f"{type(error).__name__}: {error}", "kind": kind})
            raise
        finally:
            with self._sending:
                self._is_inside = False
            waiting.cancel()
        self._openings.opened(place.batch, self._until(place.batch))
        self._send({"until": self._openings.next})
        self._hooks += 1
        if self._hooks % announce.ROUND == 0:
            self._channel.gather(None, MEETING)

    def save(self, *, with_state: bool) -> SharedSave:
        """See Lead."""
        self._number += 1
        self._send({"save": self._number, "state": with_state})
        return SharedSave(self._group, self.fit, self._number, self)

    def begun(self, begun: Begun) -> None:
        """See Lead."""
        self._send({"begun": begun})
        if begun.needs_store:
            check_all(self._group, f"{self.fit}/stores", None)

    def copies(self, number: int) -> None:
        """Announce that the pieces of a save are copied now."""
        self._send({"copy": number})

    def stop(self) -> None:
        """See Lead."""
        self._send({"stop": True})

    def batches_until_save(self, count: float) -> None:
        """See Lead."""
        self._left = count

    def _until(self, batch: int | None) -> int:
        """Return the batch with the next open hook after this one; None is the end of an epoch."""
        now, (before, last) = time.monotonic(), self._last
        self._last = now, -1 if batch is None else batch
        if batch is None:
            return 0
        done = max(batch - last, 1)
        steps = max(int(done * announce.LEASE / max(now - before, 1e-6)), 1)
        return batch + max(int(min(steps, 2 * done, self._left)), 1)

    def _report_waiting(self) -> threading.Timer:
        """Announce later, if the hook takes long, that this rank is at work, and so on."""
        timer = threading.Timer(self._group.seconds / 3, self._is_at_work)
        timer.daemon = True
        timer.start()
        return timer

    def _is_at_work(self) -> None:
        with self._sending, contextlib.suppress(OSError, RuntimeError):
            if self._is_inside:
                self._channel.send({"at": self._place, "waits": True})
                self._report_waiting()

    def _send(self, message: dict[str, Any]) -> None:
        with self._sending:
            self._channel.send({"at": self._place, **message})

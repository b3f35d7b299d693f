"""The contract between a callback and what resumes its fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from kept.store.origin.uses import Held
    from kept.store.store import Store
    from kept.training.group.base import Group
    from kept.training.resume.state import State

Logs = Mapping[str, Any]


class Resuming(Protocol):
    """Captures the state of a run, and continues a run from such a state.

    A callback calls each method in the hook of the same name; resumer.py has the contracts.
    """

    parent: dict[str, str] | None
    resumed_from: Held | None  # the same version, for the origin of the new ones

    def prepare(
        self,
        store: Store,
        name: str,
        resume: object,
        group: Group | None = None,
        /,
        *,
        key: str | None = None,
    ) -> None: ...
    def begin(self) -> None: ...
    def epoch_begin(self, epoch: int, /) -> None: ...
    def passes(self, batch: int, /) -> bool: ...
    def epoch_end(self) -> None: ...
    def end(self) -> bool: ...
    def capture(self, epoch: int, batch: int | None, logs: Logs, /) -> State | None: ...


class NoResuming:
    """Captures no state and resumes nothing; see Resuming."""

    parent: dict[str, str] | None = None
    resumed_from: Held | None = None

    def prepare(self, *_: object, **__: object) -> None:
        raise NotImplementedError

    def begin(self) -> None:
        pass

    def epoch_begin(self, *_: object) -> None:
        pass

    def passes(self, *_: object) -> bool:
        return False

    def epoch_end(self) -> None:
        pass

    def end(self) -> bool:
        return True

    def capture(self, *_: object) -> None:
        pass

"""The options that all checkpoint callbacks of kept share, and their checks.

A new option is a line in CheckpointOptions, a line in Options, a check in Options if it can be
wrong, and a line in OPTIONS_DOC (callbacks/signature.py). Every callback has it then.
"""

from __future__ import annotations

import inspect
import math
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self, TypedDict

from kept.errors import InvalidCheckpoint, InvalidInput
from kept.names import check_aliases, check_name, check_own_alias
from kept.store.metadata import check_metadata
from kept.store.origin.uses import wanted
from kept.store.retention.keep import Keep
from kept.store.scrub.options import parse_share
from kept.units import parse_span

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kept.store.origin.links import Source
    from kept.store.store import Store
    from kept.store.version import Version
    from kept.sync.mirror.mirrors import Where

COMPRESSIONS = ("none", "auto", "max")
# What the options take that are one of a few words.
_WORDS = {
    "on_busy": ("wait", "skip"),
    "compression": COMPRESSIONS,
    "on_error": ("raise", "warn"),
    "on_health": ("warn", "stop", "off"),
}


class CheckpointOptions(TypedDict, total=False):
    """The keyword arguments, for type checkers."""

    store: Store | str | os.PathLike[str] | None
    name: str | None
    mirror: Where | Iterable[Where] | None
    background: bool
    on_busy: str
    resume: bool | str
    state_of: Sequence[Any] | None
    save_every: str | float | timedelta | None
    grace_seconds: float | None
    keep: Keep | None
    gc: str | float | timedelta | None
    keep_local: bool | int | Keep
    compression: str
    scrub: bool | str | float
    on_error: str
    on_health: str
    group: Any
    group_seconds: float
    aliases: Sequence[str]
    metadata: Mapping[str, Any] | None
    on_commit: Callable[[Version], Mapping[str, Any] | None] | None
    uses: Sequence[str | Source | Version]
    capture: bool


class WandbCheckpointOptions(CheckpointOptions, total=False):
    """The keyword arguments of a WandbModelCheckpoint, for type checkers."""

    ttl: timedelta | None
    reference: bool
    run: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a callback besides Keras's own arguments; checked."""

    store: Store | str | os.PathLike[str] | None = None
    name: str | None = None
    mirror: Where | Iterable[Where] | None = None
    background: bool = True
    on_busy: str = "wait"
    resume: bool | str = False
    state_of: Sequence[Any] | None = None
    save_every: str | float | timedelta | None = None
    grace_seconds: float | None = 30.0
    keep: Keep | None = None
    gc: str | float | timedelta | None = "1h"
    keep_local: bool | int | Keep = True
    compression: str = "none"
    scrub: bool | str | float = False
    on_error: str = "raise"
    on_health: str = "warn"
    group: Any = None
    group_seconds: float = 300.0
    aliases: Sequence[str] = ()
    metadata: Mapping[str, Any] | None = None
    on_commit: Callable[[Version], Mapping[str, Any] | None] | None = None
    uses: Sequence[str | Source | Version] = ()
    capture: bool = True

    def __post_init__(self) -> None:
        """Raise InvalidInput for options that cannot work."""
        if self.name is not None:
            check_name(self.name)
        for name, words in _WORDS.items():
            if (given := getattr(self, name)) not in words:
                *most, last = map(repr, words)
                raise InvalidCheckpoint(
                    f"{name} is {', '.join(most)} or {last}. Received: {name}={given!r}"
                )
        if self.keep is not None and not isinstance(self.keep, Keep):
            raise InvalidCheckpoint(
                f"keep is a kept.Keep, such as kept.Keep(last=3). Received: keep={self.keep!r}"
            )
        is_number = isinstance(self.keep_local, int) and self.keep_local >= 0
        if not is_number and not isinstance(self.keep_local, Keep):
            raise InvalidCheckpoint(
                "keep_local is True, False, a number of files, or a kept.Keep such as "
                f"kept.Keep(last=3). Received: keep_local={self.keep_local!r}"
            )
        if self.gc is not None:
            parse_span(self.gc, "gc")
        if not self.group_seconds > 0:
            raise InvalidCheckpoint(
                "group_seconds is a number of seconds above 0. "
                f"Received: group_seconds={self.group_seconds!r}"
            )
        if wrong := _wrong_function(self.on_commit):
            raise InvalidCheckpoint(f"on_commit: {wrong}. Received: {self.on_commit!r}")
        _ = self.seconds_between_saves, self.share_scrubbed
        _check_origin(self.uses, self.capture)
        _ = [check_own_alias(alias) for alias in check_aliases(self.aliases)]
        check_metadata(self.metadata)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a copy with the same processes, run and function.

        Of the processes and the run no second object works, and a function may belong to one.
        """
        for shared in (self.group, self.on_commit, getattr(self, "run", None)):
            memo[id(shared)] = shared
        return replace(
            self, **{f.name: deepcopy(getattr(self, f.name), memo) for f in fields(self)}
        )

    @property
    def seconds_between_saves(self) -> float:
        """What save_every asks for; infinity without it. Raises InvalidCheckpoint."""
        every = self.save_every
        if every is None:
            return math.inf
        if isinstance(every, (int, float)) and not isinstance(every, bool):
            seconds = float(every)
        else:
            try:
                seconds = parse_span(every, "save_every").total_seconds()
            except InvalidInput:
                seconds = 0.0
        if not seconds > 0:  # NaN is not
            raise InvalidCheckpoint(
                "save_every is a time such as '30s', '10min', '2h' or '1d', a number of seconds or "
                f"a timedelta, more than 0. Received: save_every={every!r}"
            )
        return seconds

    @property
    def share_scrubbed(self) -> float:
        """Which share of the reused blobs is read again, 0 for none; raises InvalidCheckpoint."""
        if isinstance(self.scrub, bool):
            return float(self.scrub)
        try:
            return parse_share(self.scrub, "scrub")
        except InvalidInput:
            raise InvalidCheckpoint(
                "scrub is True, False, or a share such as '10%' or 0.1, more than 0. "
                f"Received: scrub={self.scrub!r}"
            ) from None

    @property
    def leaves_files(self) -> bool:
        """Whether any files stay at filepath."""
        return self.keep_local is not False and self.keep_local != 0

    @property
    def local_rule(self) -> Keep | None:
        """Which files stay at filepath; None means all or none."""
        if isinstance(self.keep_local, bool) or not self.keep_local:
            return None
        return self.keep_local if isinstance(self.keep_local, Keep) else Keep(last=self.keep_local)


@dataclass(frozen=True, slots=True, kw_only=True)
class WandbOptions(Options):
    """The options of a WandbModelCheckpoint."""

    ttl: timedelta | None = None
    reference: bool = False
    run: Any = None

    def __post_init__(self) -> None:
        """Raise InvalidInput for options that cannot work."""
        # super() without arguments fails in a dataclass with slots, which is a new class.
        super(WandbOptions, self).__post_init__()
        if self.ttl is not None and not (
            isinstance(self.ttl, timedelta) and self.ttl > timedelta(0)
        ):
            raise InvalidCheckpoint(f"ttl is a timedelta above 0. Received: ttl={self.ttl!r}")
        if not isinstance(self.reference, bool):
            raise InvalidCheckpoint(
                f"reference is True or False. Received: reference={self.reference!r}"
            )
        if self.run is not None and not hasattr(self.run, "log_artifact"):
            raise InvalidCheckpoint(f"run is what wandb.init returns. Received: run={self.run!r}")
        if self.reference and self.keep is not None and self.gc is not None:
            raise InvalidCheckpoint(
                "With reference=True W&B refers to versions that keep= deletes and gc= frees. "
                "Pass gc=None, and run `kept gc` when W&B does not need those versions. "
                f"Received: reference=True, keep={self.keep!r}, gc={self.gc!r}"
            )


def _wrong_function(function: Any) -> str | None:
    """Return what is wrong with the option on_commit, or None."""
    if function is None:
        return None
    if not callable(function):
        return "it is a function of one argument, the version"
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        return "it is a plain function, not an async function and not a generator"
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return "it takes one argument, the version"
    except ValueError:  # a function in C has no signature
        return None
    return None


def _check_origin(uses: Any, capture: Any) -> None:
    wanted(uses)
    if not isinstance(capture, bool):
        raise InvalidCheckpoint(f"capture is True or False. Received: capture={capture!r}")


def check_save_freq(save_freq: Any) -> str | int:
    """Return "epoch" or a number of batches, which may be NumPy's; raises InvalidCheckpoint."""
    is_number = isinstance(save_freq, Integral) and not isinstance(save_freq, bool)
    if isinstance(save_freq, str) and save_freq == "epoch":
        return save_freq
    if not is_number or save_freq < 1:
        raise InvalidCheckpoint(
            "Unrecognized save_freq: it is 'epoch' or a number of batches, 1 or more. "
            f"Received: save_freq={save_freq!r}"
        )
    return int(save_freq)

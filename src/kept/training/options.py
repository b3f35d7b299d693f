"""The options that all checkpoint callbacks of kept share: named, checked and documented here.

A new option is a line in CheckpointOptions, a line in Options, a check in Options if it can be
wrong, and a line in OPTIONS_DOC; every callback has it then.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from kept.errors import InvalidCheckpoint, InvalidInput
from kept.names import check_aliases, check_name
from kept.store.metadata import check_metadata
from kept.store.retention.keep import Keep
from kept.units import parse_span

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from kept.store.store import Store
    from kept.sync.mirror.mirrors import Where

COMPRESSIONS = ("none", "auto", "max")
_Class = TypeVar("_Class", bound=type)

_OF_KERAS_2 = {
    "period": "Keras 2 had it; with Keras 3, pass save_freq as a number of batches. ",
    "load_weights_on_restart": "Keras 2 had it; with Keras 3, pass resume=True. ",
}
OPTIONS_DOC = """\
        store: A Store, or its location as open_store takes it. In object storage a checkpoint is
            durable on the disk first ($KEPT_OUTBOX, or kept-outbox in the working directory), and
            a version once it is uploaded; what is left in the end, the next run or `kept sync`
            uploads.
        name: The artifact's name; without it run_<run id>_model, where the id is $WANDB_RUN_ID or
            made up once for the process. An artifact that is there already is continued, and its
            best value carries over (a made-up id has nothing to continue).
        background: False saves everything on the training thread.
        mirror: Where each version is copied to after its commit: a Store, a location, or a list of
            these. Training never waits for a mirror, and one that fails is told of once and tried
            again; what it lacks in the end, the next run or `kept sync` copies.
        resume: True goes on from the newest version of the artifact, if there is one; a reference
            goes on from that version, which may be of another artifact. docs/resume.md says what
            is restored.
        save_every: Save by the clock too, at the end of a batch: "30s", "10min", "2h", seconds or
            a timedelta. Such a version is for resuming: it is never best.
        grace_seconds: How long after SIGTERM the process may live. The run is then saved at the
            end of the batch, as for save_every, and the process ends with the code 143. None
            leaves SIGTERM alone; so does a handler that somebody else has set.
        state_of: The callbacks whose state is kept for resuming; without it all callbacks of the
            fit that have one.
        aliases: More aliases for every version, beside those that it has by itself.
        metadata: More metadata for every version; what kept notes itself comes first.
        keep: Which versions stay, a kept.Keep; it is applied after each commit, in the background.
            The others are deleted. Without it all stay.
        gc: How long after that a version can be undeleted; then its bytes are freed, beside the
            training, by a gc of nothing else. On a full disk they are freed at once, and the save
            is tried again. None leaves that to kept gc.
        keep_local: Which files stay at filepath. False leaves none once its version is safe; a
            file is there only where that has failed. A number, or a kept.Keep, leaves so many, or
            what its rules keep, and removes others of this artifact once their versions are safe.
        compression: "none" leaves storing versions in less room to kept compact; "auto" does it
            while nothing else wants the processor, in a process of its own; "max" also finishes
            that at the end of the fit, in five minutes at most. Commits take as long with any of
            them. "auto" and "max" are only for a store in a folder. docs/space.md has figures.
        on_error: "raise" ends the training when a checkpoint cannot be saved, on a full disk, say;
            "warn" goes on, and the next one is tried. Versions committed before are safe.
        on_busy: What to do while both snapshots are being written: "wait", or "skip" the
            checkpoint (the attribute skipped counts them).
"""


WANDB_OPTIONS_DOC = """\
        ttl: How long W&B keeps each version; a timedelta.
        reference: Upload no bytes, but a reference to the version in store=, which has to be in
            object storage.
"""


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
    on_error: str
    aliases: Sequence[str]
    metadata: Mapping[str, Any] | None


class WandbCheckpointOptions(CheckpointOptions, total=False):
    """Those of a WandbModelCheckpoint."""

    ttl: timedelta | None
    reference: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a callback was asked for beside Keras's own arguments; checked."""

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
    on_error: str = "raise"
    aliases: Sequence[str] = ()
    metadata: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Raise InvalidInput for what cannot work."""
        if self.name is not None:
            check_name(self.name)
        if self.on_busy not in ("wait", "skip"):
            raise InvalidCheckpoint(
                f"on_busy is 'wait' or 'skip'. Received: on_busy={self.on_busy!r}"
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
        if self.compression not in COMPRESSIONS:
            raise InvalidCheckpoint(
                "compression is 'none', 'auto' or 'max'. "
                f"Received: compression={self.compression!r}"
            )
        if self.on_error not in ("raise", "warn"):
            raise InvalidCheckpoint(
                f"on_error is 'raise' or 'warn'. Received: on_error={self.on_error!r}"
            )
        if self.gc is not None:
            parse_span(self.gc, "gc")
        _ = self.seconds_between_saves
        check_aliases(self.aliases)
        check_metadata(self.metadata)

    @property
    def seconds_between_saves(self) -> float:
        """What save_every asks for; infinity without it. Raises InvalidCheckpoint."""
        every = self.save_every
        if every is None:
            return math.inf
        try:
            span = parse_span(every, "save_every").total_seconds()
        except InvalidInput as error:
            raise InvalidCheckpoint(str(error)) from None
        seconds = span if isinstance(every, (str, timedelta)) else float(every)
        if seconds <= 0:
            raise InvalidCheckpoint(
                f"save_every is a time of more than 0. Received: save_every={every!r}"
            )
        return seconds

    @property
    def leaves_files(self) -> bool:
        """Whether files stay at filepath at all."""
        return self.keep_local is not False and self.keep_local != 0

    @property
    def local_rule(self) -> Keep | None:
        """Which files stay at filepath, if it is not all or none."""
        if isinstance(self.keep_local, bool) or not self.keep_local:
            return None
        return self.keep_local if isinstance(self.keep_local, Keep) else Keep(last=self.keep_local)


@dataclass(frozen=True, slots=True, kw_only=True)
class WandbOptions(Options):
    """What a WandbModelCheckpoint can be asked for beside."""

    ttl: timedelta | None = None
    reference: bool = False

    def __post_init__(self) -> None:
        """Raise InvalidInput for what cannot work."""
        # Without arguments, super() does not know a class that was made anew for its slots.
        super(WandbOptions, self).__post_init__()
        if self.ttl is not None and not (
            isinstance(self.ttl, timedelta) and self.ttl > timedelta(0)
        ):
            raise InvalidCheckpoint(f"ttl is a timedelta above 0. Received: ttl={self.ttl!r}")
        if not isinstance(self.reference, bool):
            raise InvalidCheckpoint(
                f"reference is True or False. Received: reference={self.reference!r}"
            )
        if self.reference and self.keep is not None and self.gc is not None:
            raise InvalidCheckpoint(
                "With reference=True W&B refers to what keep= deletes, and gc= would free it. Pass "
                "gc=None, and run kept gc when W&B needs those versions no more. "
                f"Received: reference=True, keep={self.keep!r}, gc={self.gc!r}"
            )


def check_options(
    callback: object, given: Mapping[str, Any], kind: type[Options] = Options
) -> Options:
    """Return the options; raises InvalidInput, or TypeError for one that does not exist."""
    known = {field.name for field in fields(kind)}
    for name in given:
        if name not in known:
            raise TypeError(
                f"{type(callback).__name__} has no argument {name!r}. {_OF_KERAS_2.get(name, '')}"
                f"Beside those of Keras it has: {', '.join(sorted(known))}"
            )
    return kind(**given)


def check_save_freq(save_freq: str | int) -> None:
    """Raise InvalidCheckpoint unless it is "epoch" or a number of batches."""
    if save_freq == "epoch":
        return
    if not isinstance(save_freq, int) or isinstance(save_freq, bool) or save_freq < 1:
        raise InvalidCheckpoint(
            "Unrecognized save_freq: it is 'epoch' or a number of batches, 1 or more. "
            f"Received: save_freq={save_freq!r}"
        )


def documented(callback: _Class) -> _Class:
    """Spell the options out in a callback's docstring (at {options}) and signature."""
    kind: type[Options] = callback.options_type  # type: ignore[attr-defined]
    text = OPTIONS_DOC + (WANDB_OPTIONS_DOC if kind is WandbOptions else "")
    callback.__doc__ = (callback.__doc__ or "").replace("        {options}\n", text)
    own = inspect.signature(callback.__init__)  # type: ignore[misc]
    shared = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default)
        for f in fields(kind)
    ]
    named = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    callback.__signature__ = own.replace(parameters=[*named[1:], *shared])  # type: ignore[attr-defined]
    return callback

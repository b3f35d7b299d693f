"""Imports the checkpoints of a plan: each becomes a version once, in one commit."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.errors import ArtifactNotFound, ImportFailed, InvalidInput, KeptError, StoreError
from kept.exchange.importing.item import ORIGIN
from kept.names import BEST, LATEST, check_alias, is_word
from kept.store.log.lookup import records_of, view_of
from kept.store.metadata import SAVED_AT, MeasuredMetadata
from kept.store.rank.mode import check_mode, mode_of
from kept.store.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kept.exchange.importing.item import Facts, Item, Plan
    from kept.store.store import Store

_CHANGING = ("size", "modified_ns")  # facts of an origin that a copy of a file can change


class Monitored(NamedTuple):
    """The metric that decides which version is the best."""

    name: str
    mode: str


class Result(NamedTuple):
    """What became of a checkpoint."""

    item: Item
    version: Version | None  # the new one
    problem: str | None = None  # why it was not imported; None if it is a version already


class Known:
    """The checkpoints that are versions of an artifact already, or were."""

    def __init__(self, store: Store, name: str) -> None:
        """Read the log of the artifact; raises Damaged."""
        self._versions: dict[str, list[Version]] = {}
        self._name = name
        self.type: str | None = None
        with contextlib.suppress(ArtifactNotFound):
            for record in records_of(view_of(store.logs, name), deleted=True):
                self._add(Version(store, name, record))

    def _add(self, version: Version) -> None:
        self.type = self.type or version.record.type
        origin = version.record.metadata.get(ORIGIN)
        if isinstance(origin, dict):
            self._versions.setdefault(_key(origin), []).append(version)

    def check_type(self, wanted: str) -> None:
        """Raise InvalidInput if the artifact exists and has another type."""
        if self.type not in (None, wanted):
            raise InvalidInput(
                f"{self._name} has the type {self.type!r}, and these checkpoints have {wanted!r}; "
                f"an artifact keeps its type. Name another artifact. Received: {self._name!r}"
            )

    def has_noted(self, item: Item) -> bool:
        """Return whether a version has the origin of a checkpoint; reads no content."""
        versions = self._versions.get(_key(item.facts.origin), [])
        return any(v.record.metadata[ORIGIN] == item.facts.origin for v in versions)

    def version_of(self, item: Item, before: Version | None) -> Version | None:
        """Return the version that a checkpoint became in an earlier import; raises OSError.

        before is the version of the checkpoint before it: equal content is not stored twice.
        """
        versions = self._versions.get(_key(item.facts.origin), [])
        noted = [v for v in versions if v.record.metadata[ORIGIN] == item.facts.origin]
        if noted:
            return noted[0]
        others = [*versions, before] if before is not None else versions
        return next((v for v in others if not v.record.deleted and _is_in(item, v)), None)


def _key(origin: dict[str, Any]) -> str:
    """Return what stays if a checkpoint is copied or written again."""
    return repr(sorted((k, v) for k, v in origin.items() if k not in _CHANGING))


def _is_in(item: Item, version: Version) -> bool:
    try:
        return item.is_in(version)
    except KeptError:  # the version is damaged, or a gc has freed it
        return False


def monitored(store: Store, plan: Plan, monitor: str | None, mode: str | None) -> Monitored | None:
    """Return the metric for the alias best: the given one, or the only one with a known direction.

    A metric that was not given leaves a best version that another metric, or a person, has chosen.
    Raises InvalidInput if no checkpoint has it, or if its direction is unknown.
    """
    names = sorted({name for item in plan.items for name in item.facts.metrics})
    if monitor is None:
        if mode is not None:
            raise InvalidInput(f"mode needs a monitor. Received: mode={mode!r}")
        if plan.has_best:
            return None
        [only, *more] = names or [""]
        found = None if more else mode_of(only)
        if found is None or _has_other_best(store, plan.name, only):
            return None
        return Monitored(only, found)
    if monitor not in names:
        known = f"They have: {', '.join(names)}" if names else "They have no metrics"
        raise InvalidInput(
            f"None of the checkpoints has the metric {monitor!r}. {known}. "
            f"Received: monitor={monitor!r}"
        )
    return Monitored(monitor, check_mode(monitor, mode))


def _has_other_best(store: Store, name: str, metric: str) -> bool:
    """Return whether an artifact has a best version that was not chosen by a metric."""
    with contextlib.suppress(ArtifactNotFound):
        records = records_of(view_of(store.logs, name))
        return any(BEST in r.aliases and r.metadata.get("monitor") != metric for r in records)
    return False


def import_plan(store: Store, plan: Plan, best: Monitored | None) -> Iterator[Result]:
    """Import the checkpoints in order; yield what became of each, also of known ones.

    A checkpoint that cannot be used is a result with a problem. An error of the store, or of a
    source that does not answer, is raised: what was imported before it stays.
    """
    known = Known(store, plan.name)
    known.check_type(plan.type)
    before = None  # the known version of the checkpoint before this one
    for item in plan.items:
        try:
            before = known.version_of(item, before)
        except OSError as error:
            before = None
            yield Result(item, None, _reason(error))
            continue
        yield Result(item, None) if before is not None else _imported(store, plan, item, best)


def _imported(store: Store, plan: Plan, item: Item, best: Monitored | None) -> Result:
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        try:
            paths = stack.enter_context(item.files())
            values = item.read_metadata()
        except StoreError:
            raise
        except (KeptError, OSError) as error:
            if not item.source_answers():
                raise _stopped(item, error) from error
            return Result(item, None, _reason(error))
        metadata = _metadata(item.facts, values, best, started)
        try:
            version = store.log_artifact(
                plan.name,
                list(paths),
                type=plan.type,
                aliases=_aliases(item.facts, best),
                metadata=metadata,
                capture=False,
            )
        except InvalidInput as error:
            return Result(item, None, _reason(error))
    return Result(item, version)


def _stopped(item: Item, error: KeptError | OSError) -> ImportFailed:
    """Return the error for a source that does not answer: no other checkpoint can be fetched."""
    return ImportFailed(
        f"The import stopped at {item.facts.label}: {_reason(error).rstrip('.')}. The versions "
        "before it stay. To continue, import again."
    )


def _metadata(
    facts: Facts, values: dict[str, Any], best: Monitored | None, started: float
) -> MeasuredMetadata:
    """Return the metadata of the version: those of the checkpoint, in the form of callbacks."""
    known: dict[str, Any] = {"epoch": facts.epoch, "step": facts.step, SAVED_AT: facts.saved_at}
    found = {key: value for key, value in known.items() if value is not None}
    if facts.metrics:
        found["metrics"] = facts.metrics
    contends = best is not None and best.name in facts.metrics
    if best is not None and contends:
        value = facts.metrics[best.name]
        found |= {"monitor": best.name, "mode": best.mode, "value": value}
    found = {**values, **facts.metadata, **found, ORIGIN: facts.origin}
    return MeasuredMetadata(found, started, contends=contends)


def _aliases(facts: Facts, best: Monitored | None) -> list[str]:
    """Return the aliases, without those that kept does not allow, or that a metric decides."""
    own = [] if facts.epoch is None else [f"epoch_{facts.epoch}"]
    if facts.epoch is None and facts.step is not None:
        own = [f"step_{facts.step}"]
    return [*own, *(a for a in facts.aliases if is_allowed(a) and (a != BEST or best is None))]


def is_allowed(alias: str) -> bool:
    """Return whether an alias of another program can be one of a version."""
    try:
        return is_word(alias) and alias != LATEST and bool(check_alias(alias))
    except InvalidInput:
        return False


def _reason(error: KeptError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def problems(results: Sequence[Result]) -> list[str]:
    """Return a line for each checkpoint that was not imported."""
    return [f"{r.item.facts.label}: {r.problem}" for r in results if r.problem is not None]


def withheld_by(versions: Sequence[Version]) -> list[str]:
    """Return the protected aliases that the new versions did not get."""
    return sorted({alias for version in versions for alias in version.withheld})

"""How the tensors moved from version to version: layers by the size of their change."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import KeptError
from kept.store.content.manifest import Manifest
from kept.store.diff.config import config_of
from kept.store.diff.diff import diff
from kept.store.diff.sides import side_of
from kept.store.tensors.find import may_have_tensors
from kept.store.tensors.tensors import tensors_of
from kept.store.version import Version
from kept.web.facts.version.content import manifest_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kept.store.diff.result import Diff, FileChange, TensorChange
    from kept.store.encoding import Json
    from kept.web.facts.compare.chosen import Entry
    from kept.web.reading.reader import Reader

MOST = 150  # tensors, or layers, in a table
ASKED_FROM = 1_000_000_000  # bytes; before so much is read, the page asks


@dataclass(frozen=True, slots=True)
class Step:
    """What changed from one version to the next of the comparison."""

    before: str
    after: str
    weights: list[TensorChange]  # largest change first
    others: list[TensorChange]  # of the optimizer and the state of the run
    files: list[FileChange]
    layers: dict[str, float]  # the relative change of each layer that was compared
    unchanged: int  # tensors
    hidden: int  # changed tensors that are not listed
    bytes_read: int
    wrong: list[str]  # layers with new NaN or infinities
    problem: str = ""

    @property
    def is_equal(self) -> bool:
        """Whether no tensor and no file differs."""
        return not (self.weights or self.others or self.files or self.problem)


class Heat(NamedTuple):
    """A layer, and how far it moved in each step."""

    layer: str
    changes: list[float | None]  # None if it did not change, or was not compared
    levels: list[int]  # 0 for no change, 1 to 5 by the size of the change
    wrong: list[bool]  # whether NaN or infinities appeared in a step


class Cost(NamedTuple):
    """About how many bytes a comparison of tensors reads."""

    size: int
    is_known: bool  # already compared

    @property
    def is_large(self) -> bool:
        """Whether the page asks first."""
        return not self.is_known and self.size > ASKED_FROM


def cost_of(reader: Reader, entries: Sequence[Entry]) -> Cost:
    """Return how many bytes steps() reads: of chunks that one of two neighbours lacks."""
    if all(reader.memo.get(_key(*pair)) for pair in _pairs(entries)):
        return Cost(0, is_known=True)
    bucket = reader.store.bucket
    manifests = [manifest_of(bucket, entry.record) for entry in entries]
    maps = [
        {c.digest: c.size for c in m.file_chunks()} if isinstance(m, Manifest) else {}
        for m in manifests
    ]
    size = 0
    for (one, other), pair in zip(itertools.pairwise(maps), _pairs(entries), strict=True):
        if not reader.memo.get(_key(*pair)):
            size += sum(one[digest] for digest in one.keys() - other.keys())
            size += sum(other[digest] for digest in other.keys() - one.keys())
    return Cost(size, is_known=False)


def steps(reader: Reader, entries: Sequence[Entry]) -> list[Step]:
    """Return what changed from each version to the next; what was compared before is remembered."""
    return [_step(reader, one, other) for one, other in _pairs(entries)]


def heat_of(found: Sequence[Step]) -> list[Heat]:
    """Return the layers that changed: those with new NaN first, then the largest change."""
    names = dict.fromkeys(layer for step in found for layer in step.layers)
    rows = [(name, [step.layers.get(name) for step in found]) for name in names]
    wrong = {name for step in found for name in step.wrong}
    rows.sort(key=lambda row: (row[0] not in wrong, -max(change or 0.0 for change in row[1])))
    every = [change for _, changes in rows for change in changes if change]
    scale = [math.log10(change) for change in every if math.isfinite(change)]
    low, high = min(scale, default=0.0), max(scale, default=0.0)
    return [
        Heat(
            name,
            changes,
            [_level(change, low, high) for change in changes],
            [name in step.wrong for step in found],
        )
        for name, changes in rows[:MOST]
    ]


def configs_of(reader: Reader, entries: Sequence[Entry]) -> list[dict[str, Json]] | str:
    """Return the configuration of the model in each version, or why one cannot be read."""
    try:
        return [_config(reader, entry) for entry in entries]
    except (KeptError, OSError) as error:
        return str(error)


def _level(change: float | None, low: float, high: float) -> int:
    """Return a step of the colour scale, which is that of the logarithm."""
    if not change:
        return 0
    if not math.isfinite(change):
        return 5
    share = (math.log10(change) - low) / (high - low) if high > low else 1.0
    return 1 + min(int(share * 5), 4)


def _pairs(entries: Sequence[Entry]) -> Iterator[tuple[Entry, Entry]]:
    return itertools.pairwise(entries)


def _key(one: Entry, other: Entry) -> tuple[str, str, str]:
    return "diff", one.record.digest, other.record.digest


def _step(reader: Reader, one: Entry, other: Entry) -> Step:
    key = _key(one, other)
    known: Step | None = reader.memo.get(key)
    if known is not None:
        return _named(known, one, other)
    try:
        found = diff(*(side_of(Version(reader.store, e.name, e.record)) for e in (one, other)))
    except (KeptError, OSError) as error:
        return Step(one.reference, other.reference, [], [], [], {}, 0, 0, 0, [], str(error))
    step = _short(found, one, other)
    reader.memo.put(key, step)
    return step


def _named(step: Step, one: Entry, other: Entry) -> Step:
    """Return a step of other versions with the same content, under these names."""
    return Step(
        one.reference, other.reference, step.weights, step.others, step.files, step.layers,
        step.unchanged, step.hidden, step.bytes_read, step.wrong,
    )  # fmt: skip


def _short(found: Diff, one: Entry, other: Entry) -> Step:
    """Return what the page shows of a diff."""
    layers = {each.layer: each.relative for each in found.layers if each.relative is not None}
    hidden = max(len(found.tensors) - MOST, 0) + max(len(found.optimizer) - MOST, 0)
    return Step(
        one.reference,
        other.reference,
        list(found.tensors[:MOST]),
        list(found.optimizer[:MOST]),
        list(found.files[:MOST]),
        layers,
        found.unchanged,
        hidden,
        found.bytes_read,
        [e.layer for e in found.layers if e.non_finite[1] > e.non_finite[0]],
    )


def _config(reader: Reader, entry: Entry) -> dict[str, Json]:
    key = "config", entry.record.digest
    known: dict[str, Json] | None = reader.memo.get(key)
    if known is not None:
        return known
    manifest = Version(reader.store, entry.name, entry.record).manifest
    tensors = tensors_of(reader.store.bucket, manifest)
    paths = [file.path for file in manifest.files if may_have_tensors(file.path)]
    found: dict[str, Json] = {}
    for path in paths[:20]:
        found = found or config_of(tensors, path)
    reader.memo.put(key, found)
    return found

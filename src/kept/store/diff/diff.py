"""The diff of two versions, or of a version and files: what differs, and how much."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from kept.bucket.transfer import Transfer
from kept.parallel import mapped
from kept.store.diff.compare import Task, compare, task_of
from kept.store.diff.config import config_of
from kept.store.diff.files import contents, file_changes
from kept.store.diff.match import group_of, is_renamed, paired_files, paired_tensors
from kept.store.diff.result import LayerChange, TensorChange
from kept.store.diff.shown import ShownDiff
from kept.store.diff.values import differences, metadata_of, metrics_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.bucket.transfer import Progress
    from kept.store.diff.match import Pair
    from kept.store.diff.result import Diff, ValueChange
    from kept.store.diff.sides import Side
    from kept.store.tensors.tensor import StoredTensor

_AT_ONCE = 4  # batches of a side in object storage, each with its own memory
_BATCH = 16 * 1024 * 1024  # bytes of a side


class _Batch(NamedTuple):
    number: int
    tasks: list[Task]


def diff(
    before: Side, after: Side, *, exact: bool = False, progress: Progress | None = None
) -> Diff:
    """Return what differs between two sides, largest change first.

    Only chunks whose digests differ are read. So the figures of a tensor of which a part is equal
    are bounds; with exact, the equal parts of such tensors are read, too. progress is called with
    the bytes compared so far and in all, one call at a time. Raises Damaged, or InvalidInput for a
    file that cannot be read.
    """
    with before.tensors, after.tensors:
        list(mapped(lambda side: side.tensors.every, (before, after), 2))
        groups = list(_paired_groups(before, after))
        tasks, found, unchanged = _sorted_out(before, after, groups)
        read = 0
        transfer = Transfer(sum(2 * task.nbytes for task in tasks), progress)
        for changes, count in _compared(before, after, tasks, transfer, exact=exact):
            found += filter(_is_change, changes)
            unchanged += len(changes) - sum(map(_is_change, changes))
            read += count
        config = tuple(_config(before, after, groups))
        result = _described(before, after)
        return replace(
            result,
            tensors=_largest_first(c for c in found if not c.tensor.is_optimizer),
            optimizer=_largest_first(c for c in found if c.tensor.is_optimizer),
            layers=_layers([c for c in found if not c.tensor.is_optimizer]),
            config=config,
            files=tuple(file_changes(before, after, _files(groups))),
            unchanged=unchanged,
            bytes_read=read + before.tensors.bytes_read + after.tensors.bytes_read,
            bytes_total=before.size + after.size,
        )


_Group = tuple[list["StoredTensor"], list["StoredTensor"]]


def _paired_groups(before: Side, after: Side) -> Iterator[_Group]:
    """Yield the tensors of one model on both sides; one of them may be empty."""
    ours, theirs = _groups(before), _groups(after)
    for one, other in list(paired_files(ours, theirs, by_rest=True)):
        yield ours.pop(one), theirs.pop(other)
    yield from ((tensors, []) for tensors in ours.values())
    yield from (([], tensors) for tensors in theirs.values())


def _groups(side: Side) -> dict[str, list[StoredTensor]]:
    found: dict[str, list[StoredTensor]] = defaultdict(list)
    paths = side.tensors.sources
    names: dict[str, str] = {}
    for tensor in side.tensors:
        if tensor.role == "state":  # random keys and counters, whose norms say nothing
            continue
        if tensor.file not in names:
            names[tensor.file] = group_of(tensor.file, paths)
        found[names[tensor.file]].append(tensor)
    return found


def _sorted_out(
    before: Side, after: Side, groups: list[_Group]
) -> tuple[list[Task], list[TensorChange], int]:
    """Return which tensors must be compared, which changes are known, and how many are equal."""
    tasks: list[Task] = []
    changes: list[TensorChange] = []
    unchanged = 0
    for group in groups:
        for pair in paired_tensors(*group):
            known = _known(pair)
            if known is not None:
                changes.append(known)
                continue
            one, other = pair
            assert one is not None, "a pair"
            assert other is not None, "a pair"
            task = task_of(one, other, before.tensors.pieces(one), after.tensors.pieces(other))
            if not task.is_equal:
                tasks.append(task)
            elif is_renamed(pair):
                changes.append(TensorChange("renamed", one, other))
            else:
                unchanged += 1
    return tasks, changes, unchanged


def _known(pair: Pair) -> TensorChange | None:
    """Return what needs no look at values: another shape, or a tensor of one side."""
    one, other = pair
    if one is None or other is None:
        return TensorChange("added" if one is None else "removed", one, other)
    return TensorChange("reshaped", one, other) if one.shape != other.shape else None


def _compared(
    before: Side, after: Side, tasks: list[Task], transfer: Transfer, *, exact: bool
) -> Iterator[tuple[list[TensorChange], int]]:
    """Yield the changes of some tensors at a time, and the bytes that other readers have read."""
    is_remote = any(s.is_remote for side in (before, after) for s in side.tensors.sources.values())

    def work(batch: _Batch) -> tuple[list[TensorChange], int]:
        own = is_remote and batch.number > 0
        ours = before.tensors.again() if own else before.tensors
        theirs = after.tensors.again() if own else after.tensors
        found: list[TensorChange] = []
        for task in batch.tasks:
            figures = compare(ours, theirs, task, exact=exact)
            found.append(TensorChange("changed", task.before, task.after, figures))
            transfer.moved(2 * task.nbytes)
        return found, ours.bytes_read + theirs.bytes_read if own else 0

    yield from mapped(work, _batches(tasks), _AT_ONCE if is_remote else 1)


def _batches(tasks: list[Task]) -> Iterator[_Batch]:
    """Yield neighbours together, because they share chunks and blobs."""
    number, batch, size = 0, list[Task](), 0
    for task in tasks:
        batch.append(task)
        size += task.nbytes
        if size >= _BATCH:
            yield _Batch(number, batch)
            number, batch, size = number + 1, [], 0
    if batch:
        yield _Batch(number, batch)


def _is_change(change: TensorChange) -> bool:
    """Return whether two tensors differ; a small one shares its chunk with others that do."""
    one, other, figures = change.before, change.after, change.figures
    is_same_kind = one is None or other is None or one.dtype == other.dtype
    return figures is None or figures.changed > 0 or not is_same_kind


def _largest_first(changes: Iterable[TensorChange]) -> tuple[TensorChange, ...]:
    """Order changes: new NaN first, then the largest relative change, then those without one."""

    def key(change: TensorChange) -> tuple[bool, bool, float, float, str]:
        figures = change.figures
        wrong = figures is not None and figures.became_wrong
        relative = change.relative
        size = figures.change if figures else 0.0
        return (not wrong, relative is None, -(relative or 0.0), -size, change.name)

    return tuple(sorted(changes, key=key))


def _layers(changes: list[TensorChange]) -> tuple[LayerChange, ...]:
    by_layer: dict[str, list[TensorChange]] = defaultdict(list)
    for change in changes:
        by_layer[change.layer].append(change)
    found = [_layer(name, each) for name, each in by_layer.items()]
    found.sort(key=lambda layer: (layer.relative is None, -(layer.relative or 0.0), layer.layer))
    return tuple(found)


def _layer(name: str, changes: list[TensorChange]) -> LayerChange:
    known = [change.figures for change in changes if change.figures]
    relative = None
    if finite := [each for each in known if each.relative is not None]:
        change = math.hypot(*(each.change for each in finite))
        norm = math.hypot(*(each.norm_before for each in finite))
        relative = change / norm if norm else (math.inf if change else 0.0)
    wrong = [sum(sum(each.non_finite(side)) for each in known) for side in (0, 1)]
    return LayerChange(
        name,
        len(changes),
        sum(each.changed for each in known),
        sum(change.tensor.size for change in changes),
        relative,
        (wrong[0], wrong[1]),
    )


def _files(groups: list[_Group]) -> list[tuple[str, str]]:
    """Return the first file of each model that both sides have."""
    return [(ours[0].file, theirs[0].file) for ours, theirs in groups if ours and theirs]


def _config(before: Side, after: Side, groups: list[_Group]) -> Iterator[ValueChange]:
    """Yield what differs in the configurations of the models that both sides have."""
    models = _files(groups)
    for one, other in models:
        if contents(before, one) == contents(after, other):
            continue
        configs = config_of(before.tensors, one), config_of(after.tensors, other)
        if all(configs):  # weights alone have none
            yield from differences(*configs, key=other if len(models) > 1 else "")


def _described(before: Side, after: Side) -> Diff:
    """Return what the records say; files on the disk have none."""
    one, other = before.record, after.record
    found = ShownDiff(before.label, after.label)
    if one is None or other is None:
        return found
    return replace(
        found,
        metrics=tuple(differences(metrics_of(one), metrics_of(other))),
        metadata=tuple(differences(metadata_of(one), metadata_of(other))),
        aliases=(one.aliases, other.aliases),
    )

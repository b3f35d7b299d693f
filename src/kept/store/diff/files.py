"""Which files differ between two sides, by the digests of their chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.store.diff.match import paired_files
from kept.store.diff.result import FileChange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.diff.sides import Side


def contents(side: Side, path: str) -> list[tuple[str, int]]:
    """Return digests and sizes of the chunks of a file."""
    return [(chunk.digest, chunk.size) for chunk in side.chunks(path)]


def file_changes(before: Side, after: Side, known: list[tuple[str, str]]) -> Iterator[FileChange]:
    """Yield the files that differ; known are those that hold the same model."""
    ours, theirs = before.tensors.sources, after.tensors.sources
    have_tensors = {
        tensor.file for side in (before, after) for tensor in side.tensors if tensor.role != "state"
    }
    left, right = {one for one, _ in known}, {other for _, other in known}
    rest = paired_files((p for p in ours if p not in left), (p for p in theirs if p not in right))
    pairs = [*known, *rest]
    for one, other in pairs:
        old, new = contents(before, one), contents(after, other)
        if old == new and _is_one_name(before, after, one, other):
            continue
        size = sum(size for digest, size in set(new) - set(old))
        kind = "renamed" if old == new else "changed"
        sizes = ours[one].size, theirs[other].size
        yield FileChange(other, kind, one, *sizes, size, other in have_tensors)  # type: ignore[arg-type]
    left, right = {one for one, _ in pairs}, {other for _, other in pairs}
    for path, source in ours.items():
        if path not in left:
            yield FileChange(path, "removed", path, source.size, None, 0, path in have_tensors)
    for path, source in theirs.items():
        if path not in right:
            size = source.size
            yield FileChange(path, "added", None, None, size, size, path in have_tensors)


def _is_one_name(before: Side, after: Side, one: str, other: str) -> bool:
    """Return whether two paths differ at most by the first folder of a side on the disk."""
    if one == other:
        return True
    on_disk = before.record is None or after.record is None
    return on_disk and one.rpartition("/")[2] == other.rpartition("/")[2]

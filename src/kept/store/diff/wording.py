"""A diff as text for people: sections of what differs, as lines of a table or of a list."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.units import counted, metric_text, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kept.store.diff.result import Diff, FileChange, TensorChange, ValueChange
    from kept.store.tensors.tensor import StoredTensor

FEW = 20  # rows of a section, unless the reader asks for more
RIGHT = ("relative", "cosine", "changed", "difference", "new bytes")  # columns of numbers
_ALMOST = 0.999999
_LONGEST = 60  # characters of a value
_COLUMNS = ("relative", "cosine", "changed", "shape", "note")


class Section(NamedTuple):
    """What differs of one kind, as a table."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    left_out: int = 0  # rows


def sections(diff: Diff, limit: int | None = FEW) -> Iterator[Section]:
    """Yield the parts of a diff that are not empty, each with up to `limit` rows."""
    for title, changes in (("weights", diff.tensors), ("optimizer", diff.optimizer)):
        if changes:
            names = Counter(change.name for change in changes)
            rows = [_tensor_row(c, has_twins=names[c.name] > 1) for c in changes[:limit]]
            yield Section(title, (title, *_COLUMNS), rows, len(changes) - len(rows))
    for title, values in (
        ("metrics", diff.metrics),
        ("metadata", diff.metadata),
        ("configuration", diff.config),
    ):
        if values:
            found = [_value_row(value) for value in values[:limit]]
            columns = (title, "before", "after", "difference")
            yield Section(title, columns, found, len(values) - len(found))
    files = [each for each in diff.files if _is_shown(each, diff)]
    if files:
        shown = [_file_row(each) for each in files[:limit]]
        columns = ("file", "change", "size", "new bytes")
        yield Section("files", columns, shown, len(files) - len(shown))


def summary(diff: Diff) -> str:
    """Return a sentence about the whole diff."""
    if not diff.differs:
        return f"No difference: {counted(diff.unchanged, 'tensor')} and all files are equal."
    tensors = [*diff.tensors, *diff.optimizer]
    kinds = {kind: sum(1 for c in tensors if c.kind == kind) for kind in _KINDS}
    parts = [f"{count:,} {kind}" for kind, count in kinds.items() if count]
    parts.append(f"{diff.unchanged:,} unchanged")
    # Small chunks are read once for the list of tensors, and again for their values.
    of_all = f" of {size_text(diff.bytes_total)}" if diff.bytes_read < diff.bytes_total else ""
    return f"Tensors: {', '.join(parts)}; read {size_text(diff.bytes_read)}{of_all}."


_KINDS = ("changed", "reshaped", "added", "removed", "renamed")


def text_of(diff: Diff, limit: int | None = FEW) -> str:
    """Return all of a diff as text, in columns."""
    lines = [f"{diff.before} → {diff.after}", summary(diff)]
    for section in sections(diff, limit):
        lines += ["", *_aligned([section.columns, *section.rows])]
        lines += [f"… and {section.left_out:,} more"] if section.left_out else []
    return "\n".join(lines)


def relative_text(value: float | None, *, is_bound: bool = False) -> str:
    """Return 0.0123 as 1.23 %, and a change from zero in words."""
    if value is None:
        return ""
    if math.isinf(value):
        return "partly from zero" if is_bound else "from zero"
    text = f"{value:.3g}" if value >= 10 else f"{value * 100:.3g} %"
    return f"≤ {text}" if is_bound and value else text


def cosine_text(value: float | None, *, is_bound: bool = False) -> str:
    """Return a cosine; what is not 1 never looks like it."""
    if value is None:
        return ""
    text = f"{value:.6f}" if value > 0.999 else f"{value:.4f}"
    if value < 1 and float(text) == 1:
        return f"> {_ALMOST}"
    return f"≥ {text}" if is_bound else text


def share_text(value: float | None) -> str:
    """Return a share of elements in percent; what is not zero and not all never looks like it."""
    if value is None:
        return ""
    if 0 < value < 0.001:
        return "< 0.1 %"
    if 0.999 < value < 1:
        return "> 99.9 %"
    return f"{value * 100:.3g} %"


def _notes(change: TensorChange) -> Iterator[str]:
    """Yield what else is to say of a tensor: NaN, infinities, another type or name."""
    if change.kind != "changed":
        yield change.kind
    one, other = change.before, change.after
    if one is not None and other is not None:
        if one.dtype != other.dtype:
            yield f"{one.dtype} → {other.dtype}"
        if one.name != other.name and change.kind == "renamed":
            yield f"was {one.name}"
    if change.figures is not None:
        for what, (old, new) in (
            ("NaN", change.figures.nans),
            ("infinite", change.figures.infinities),
        ):
            if old or new:
                was = f" ({old:,} before)" if old != new and old else ""
                was += " in the part that was read" if change.is_bound else ""
                yield f"{new:,} {what}{was}" if new else f"no {what}{was}"


def value_text(value: Any) -> str:
    """Return a value of metadata or of a configuration in a line; a layer is its class."""
    if isinstance(value, dict) and isinstance(value.get("class_name"), str):
        return str(value["class_name"])
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False, default=str)
    text = metric_text(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _tensor_row(change: TensorChange, *, has_twins: bool) -> tuple[str, ...]:
    notes = [f"in {change.tensor.file}"] if has_twins else []
    return (
        change.name,
        relative_text(change.relative, is_bound=change.is_bound),
        cosine_text(change.cosine, is_bound=change.is_bound),
        share_text(change.share),
        _shapes(change.before, change.after),
        "; ".join([*notes, *_notes(change)]),
    )


def _shapes(one: StoredTensor | None, other: StoredTensor | None) -> str:
    found = [shape_text(each) for each in (one, other) if each is not None]
    return " → ".join(dict.fromkeys(found))


def shape_text(tensor: StoredTensor) -> str:
    """Return 64×10, or scalar."""
    return "×".join(map(str, tensor.shape)) or "scalar"


def _value_row(value: ValueChange) -> tuple[str, ...]:
    difference = value.difference
    return (
        value.key,
        "" if value.kind == "added" else value_text(value.before),
        "" if value.kind == "removed" else value_text(value.after),
        "" if difference is None else f"{difference:+.6g}",
    )


def _is_shown(change: FileChange, diff: Diff) -> bool:
    """Leave out a file of which the tensors and the configuration say what has changed."""
    if change.kind != "changed" or not change.has_tensors:
        return True
    return not any(c.tensor.file == change.path for c in (*diff.tensors, *diff.optimizer))


def _file_row(change: FileChange) -> tuple[str, ...]:
    sizes = [size for size in (change.size_before, change.size_after) if size is not None]
    is_moved = change.path_before not in (None, change.path)
    kind = f"{change.kind}, was {change.path_before}" if is_moved else change.kind
    texts = dict.fromkeys(map(size_text, sizes))
    return change.path, kind, " → ".join(texts), size_text(change.bytes_new)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = (map(str.ljust, row, widths) for row in rows)
    return ["  ".join(row).rstrip() for row in padded]

"""Which file and which tensor of one side is which of the other.

A file can have an epoch in its name. Keras numbers layers without a name through a whole process.
So the same model has other names in another run; the paths in the file stay. A layer that its
author named keeps the name, and its path changes if another layer is put before it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from kept.store.tensors.tensor import StoredTensor

_DIGITS = re.compile(r"\d+")
_SHARD = re.compile(r"(.*)_\d{5}\.weights\.h5")
_PART = re.compile(r"(.*)-\d{5}-of-\d{5}\.safetensors")
_COUNTED = re.compile(r"_\d+$")
_COUNTS = re.compile(r"_\d+(?=/|$|_)")


class Pair(NamedTuple):
    """A tensor of both sides, or of one."""

    before: StoredTensor | None
    after: StoredTensor | None


def paired_files(
    before: Iterable[str], after: Iterable[str], *, by_rest: bool = False
) -> Iterator[tuple[str, str]]:
    """Yield the paths of the same file on both sides; each path at most once.

    With by_rest, the last file of each side is the same one, whatever its name is.
    """
    left, right = dict.fromkeys(before), dict.fromkeys(after)
    for key in (str, _below_top, _without_numbers):
        index: dict[str, list[list[str]]] = defaultdict(lambda: [[], []])
        for side, paths in enumerate((left, right)):
            for path in paths:
                index[key(path)][side].append(path)
        for ours, theirs in index.values():
            if len(ours) == 1 == len(theirs):
                del left[ours[0]], right[theirs[0]]
                yield ours[0], theirs[0]
    if by_rest and len(left) == 1 == len(right):
        yield next(iter(left)), next(iter(right))


def group_of(path: str, paths: Iterable[str]) -> str:
    """Return what a file is a part of: a model in several files is one, however it is cut."""
    if part := _PART.fullmatch(path):
        return f"{part[1]}.safetensors"
    shard = _SHARD.fullmatch(path)
    index = f"{shard[1]}.weights.json" if shard else path
    return index if index in paths else path


def paired_tensors(before: list[StoredTensor], after: list[StoredTensor]) -> list[Pair]:
    """Pair the tensors of one model; those of one side alone come last."""
    if {_place(t) for t in before} == {_place(t) for t in after}:
        steps: list[Callable[[StoredTensor], Hashable]] = [_place]
    else:
        steps = [_identity, _place, _named, lambda t: t.name]
    left, right = dict.fromkeys(before), dict.fromkeys(after)
    found: list[Pair] = []
    for key in steps:
        ours = _unique(left, map(key, left))
        theirs = _unique(right, map(key, right))
        for name in ours.keys() & theirs.keys():
            found.append(Pair(ours[name], theirs[name]))
            del left[ours[name]], right[theirs[name]]
    found += _renumbered(left, right)
    order = {tensor: number for number, tensor in enumerate(before)}
    found.sort(key=lambda pair: order[pair.before] if pair.before else 0)
    return [*found, *(Pair(t, None) for t in left), *(Pair(None, t) for t in right)]


def _renumbered(left: dict[StoredTensor, None], right: dict[StoredTensor, None]) -> Iterator[Pair]:
    """Pair the rest in order, if only the numbers of Keras differ, as in .h5 files."""
    ours, theirs = ([(_COUNTS.sub("", t.name), t.shape) for t in side] for side in (left, right))
    if ours == theirs:
        yield from map(Pair, list(left), list(right))
        left.clear()
        right.clear()


def is_renamed(pair: Pair) -> bool:
    """Return whether the author gave a tensor another name; a number of Keras is no name."""
    one, other = pair
    if one is None or other is None or one.name == other.name or one.is_optimizer:
        return False
    return not (has_counted_name(one) and has_counted_name(other))


def has_counted_name(tensor: StoredTensor) -> bool:
    """Return whether Keras made the name of a layer, from its class and a number."""
    if tensor.is_optimizer:
        return tensor.name.rpartition("/")[2].isdigit()
    layer = tensor.layer.rpartition("/")[2]
    group = tensor.path.removesuffix("/vars" + tensor.path.rpartition("/vars")[2])
    return _COUNTED.sub("", layer) == _COUNTED.sub("", group.rpartition("/")[2])


def _unique(
    tensors: Iterable[StoredTensor], keys: Iterable[Hashable]
) -> dict[Hashable, StoredTensor]:
    """Return the tensors by their keys, without those that share one."""
    found: dict[Hashable, list[StoredTensor]] = defaultdict(list)
    for tensor, key in zip(tensors, keys, strict=True):
        found[key].append(tensor)
    return {key: each[0] for key, each in found.items() if len(each) == 1}


def _place(tensor: StoredTensor) -> Hashable:
    return tensor.path, tensor.shape


def _named(tensor: StoredTensor) -> Hashable:
    return tensor.name, tensor.shape


def _identity(tensor: StoredTensor) -> Hashable:
    return _place(tensor) if has_counted_name(tensor) else _named(tensor)


def _below_top(path: str) -> str:
    """Return a path without its first folder: a folder on the disk can have any name."""
    return path.partition("/")[2] or path


def _without_numbers(path: str) -> str:
    return _DIGITS.sub("#", path.rpartition("/")[2])

"""The tensors of a version by layer, and since which version their bytes are the same."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import KeptError
from kept.store.content.read_manifest import read_manifest
from kept.store.tensors.tensors import tensors_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kept.bucket.base import Bucket
    from kept.store.content.manifest import Manifest
    from kept.store.log.history import VersionRecord
    from kept.store.tensors.tensor import StoredTensor

MOST = 150  # tensors on a page, besides a row for each layer
_ROLES = ("weights", "optimizer", "state")
_OLDEST = 50  # versions before that are looked at
_OLDEST_REMOTE = 10  # the same in object storage, where each is a request
_MOST_CHUNKS = 500_000  # of their manifests together


class TensorRow(NamedTuple):
    """A tensor of a version."""

    tensor: StoredTensor
    since: int | None  # the oldest version with the same bytes, without a break; None if new

    @property
    def weight(self) -> str:
        """The name of the tensor within its layer."""
        return self.tensor.name.removeprefix(f"{self.tensor.layer}/")


class Layer(NamedTuple):
    """A layer, with those of its tensors that are on the page."""

    name: str  # "" for the model itself
    role: str  # "weights", "optimizer" or "state"
    size: int  # elements
    nbytes: int
    rows: list[TensorRow]


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers of a version."""

    layers: list[Layer]
    tensors: int  # of all
    parameters: int  # elements of weights
    nbytes: int  # of all tensors
    shared: int  # bytes of tensors that the version before has, too
    page: int
    pages: int
    oldest: int | None  # the oldest version that was looked at
    is_cut: bool  # older ones were not
    problem: str = ""


def layers_of(
    bucket: Bucket, manifest: Manifest, earlier: Sequence[VersionRecord], page: int = 1
) -> Layers:
    """Return a page of the layers of a version.

    earlier has the versions before it, the newest first. Only manifests and the metadata of files
    are read.
    """
    try:
        tensors = tensors_of(bucket, manifest)
        every = sorted(tensors.every, key=lambda each: _ROLES.index(each.role))
        digests = {each: {p.digest for p in tensors.pieces(each)} for each in every}
    except (KeptError, OSError) as error:
        return Layers([], 0, 0, 0, 0, 1, 1, None, is_cut=False, problem=str(error))
    since, oldest = _since(bucket, earlier, digests)
    pages = max(-(-len(every) // MOST), 1)
    page = min(max(page, 1), pages)
    shown = set(every[(page - 1) * MOST : page * MOST])
    groups = itertools.groupby(every, key=lambda each: (each.role, each.layer))
    layers = [_layer(key, list(own), since, shown) for key, own in groups]
    return Layers(
        [layer for layer in layers if layer.rows],
        len(every),
        sum(each.size for each in every if each.role == "weights"),
        sum(each.nbytes for each in every),
        sum(each.nbytes for each in since),
        page,
        pages,
        oldest,
        is_cut=bool(earlier) and oldest != earlier[-1].index,
    )


def _layer(
    key: tuple[str, str],
    own: list[StoredTensor],
    since: Mapping[StoredTensor, int],
    shown: set[StoredTensor],
) -> Layer:
    role, name = key
    rows = [TensorRow(each, since.get(each)) for each in own if each in shown]
    return Layer(name, role, sum(e.size for e in own), sum(e.nbytes for e in own), rows)


def _since(
    bucket: Bucket, earlier: Sequence[VersionRecord], digests: Mapping[StoredTensor, set[str]]
) -> tuple[dict[StoredTensor, int], int | None]:
    """Return the oldest version with the same bytes of each tensor that the one before has."""
    found: dict[StoredTensor, int] = {}
    same, oldest, chunks = set(digests), None, 0
    for record in earlier[: _OLDEST_REMOTE if bucket.is_remote else _OLDEST]:
        try:
            older = read_manifest(bucket, record)
        except (KeptError, OSError):
            break
        known = {chunk.digest for chunk in older.file_chunks()}
        oldest, chunks = record.index, chunks + len(known)
        same = {each for each in same if digests[each] <= known}
        found |= dict.fromkeys(same, record.index)
        if not same or chunks > _MOST_CHUNKS:
            break
    return found, oldest

"""The keys that the gc of one artifact frees: those of versions that rules have deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kept.errors import Damaged
from kept.store.content.manifest import manifest_key
from kept.store.log.history import is_deleted, version_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kept.store.gc.marks import FinalDeletions
    from kept.store.gc.pinned import Bases
    from kept.store.log.log import View


class Contents(Protocol):
    """What a process knows of manifests and blobs."""

    def may_need(self, listed: Mapping[str, float]) -> set[str]:
        """Return which of the listed manifests may name a blob that this process may free."""

    def owned(self, keys: set[str]) -> set[str]:
        """Return which blobs and manifests this process may free, if no version needs them."""

    def blobs_of(self, manifests: Iterable[str]) -> set[str]:
        """Return the blobs of manifests; raises Damaged."""

    def bases(self) -> Bases:
        """Return what blobs need as bases."""


class Choice:
    """Chooses before a gc condemns keys, and once more among the condemned ones."""

    def __init__(self, contents: Contents, final: FinalDeletions) -> None:
        self._contents, self._final = contents, final
        self.condemned: set[str] | None = None
        self.spared: set[str] = set()  # manifests that another version may need
        self.damaged: set[str] = set()  # blobs that are marked as damaged

    def of(self, view: View, listed: Mapping[str, float]) -> set[str]:
        """Return the keys that no version needs, as far as the lists and manifests say now."""
        own, needed = self._own(view, listed)
        mine = self._contents.owned(own) - needed - self.spared
        ruled_out = {key for key in mine if self._may_go(key, listed)}
        candidates = self._contents.owned(self._contents.blobs_of(ruled_out))
        if self.condemned is not None:
            candidates &= self.condemned
        if not candidates:
            return set()
        others = self._contents.may_need(listed) - ruled_out
        stay = self._contents.blobs_of(needed | self.spared | others) | self.damaged
        free = candidates - stay
        versions = {key: self._contents.blobs_of([key]) & free for key in ruled_out}
        self.condemned = self._without_bases({k: blobs for k, blobs in versions.items() if blobs})
        return self.condemned

    def _may_go(self, key: str, listed: Mapping[str, float]) -> bool:
        return key in listed and (self.condemned is None or key in self.condemned)

    def _own(self, view: View, listed: Mapping[str, float]) -> tuple[set[str], set[str]]:
        """Return the manifests of the artifact, and those that it still needs."""
        own, needed = set[str](), set[str]()
        for record in version_records(view.facts()):
            key = manifest_key(record.manifest)
            own.add(key)
            if self._final.include(view.log.name, record):
                continue
            if key in listed:
                needed.add(key)
            elif not record.deleted and not is_deleted(view.log.view().facts(), record.index):
                raise Damaged(
                    f"{view.log.bucket.location}: {key} of {view.log.name}:v{record.index} is "
                    "missing, or a list is old or incomplete. So the gc deletes nothing. Run "
                    "kept verify."
                )
        return own, needed

    def _without_bases(self, versions: dict[str, set[str]]) -> set[str]:
        """Return the keys of versions, except of those with a base of a blob that stays.

        Their manifests stay, too: a later gc finds by them whose the blobs are.
        """
        bases = self._contents.bases()
        while True:
            doomed = set(versions).union(*versions.values())
            pinned = bases.below(doomed)
            waiting = {key for key, blobs in versions.items() if blobs & pinned}
            if not waiting:
                return doomed
            stay = set[str]().union(*(versions[key] for key in waiting))
            rest = ((key, versions[key] - stay) for key in versions.keys() - waiting)
            versions = {key: blobs for key, blobs in rest if blobs}

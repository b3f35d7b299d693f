"""The part of a Version that compares it with others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from kept.store.diff.result import Diff


class Comparable:
    """What has a diff: a version, which has a store."""

    store: Any

    def diff(self, other: Any | str | os.PathLike[str], *, exact: bool = False) -> Diff:
        """Return what differs between this version and another one, largest change first.

        other is a kept.Version, a reference such as "name:v3", one in another store, such as
        "s3://team/store/name:v3", or the path of a file or a folder. Weights and optimizer are
        compared tensor by tensor; only chunks whose digests differ are read. If a part of a tensor
        is equal, its relative change is an upper bound. With exact, that part is read, too.

        Raises InvalidInput, NotFound, or Damaged.
        """
        from kept.store.diff.diff import diff
        from kept.store.diff.sides import any_side, side_of

        return diff(side_of(self, self.store), any_side(other, self.store), exact=exact)

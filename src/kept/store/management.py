"""What a store offers after the save: promotion, history, search, and whole artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.names import check_name
from kept.store.display.displayed import DisplayedStore
from kept.units import parse_span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import timedelta

    import pandas as pd
    import pyarrow as pa

    from kept.bucket.base import Bucket
    from kept.bucket.transfer import Progress
    from kept.store.log.history import VersionRecord
    from kept.store.log.log import Logs
    from kept.store.promotion.history import Change
    from kept.store.version import Version
    from kept.store.whole.remove import Removal
    from kept.store.whole.restore import Restored


class Management(DisplayedStore):
    """The part of a Store that ranks, promotes, searches, renames and removes."""

    bucket: Bucket
    logs: Logs

    def _ipython_key_completions_(self) -> list[str]:
        """Return what the Tab key offers for store["…"] in a notebook: artifacts."""
        return list(self.logs.with_versions())

    if TYPE_CHECKING:

        def create(self) -> None: ...
        def version(self, reference: str) -> Version: ...
        def _of(self, name: str, record: VersionRecord) -> Version: ...
        def _changed(self, name: str, record: VersionRecord) -> Version: ...

    def promote(
        self,
        reference: str,
        alias: str,
        *,
        condition: str | None = None,
        from_alias: str | None = None,
        message: str | None = None,
    ) -> Version:
        """Put an alias on a version, protected or not, and log the decision; return the version.

        condition is a text such as "test_acc >= 0.9" (docs/search.md has its grammar): without it
        the promotion is unconditional. With from_alias, the version must have that alias, too.
        Both are checked on the log as it is when the alias moves, also if others write meanwhile.
        A reference without a selector, "name", then means the version that has it. message is for
        people, who read it in history.

        Raises ConditionNotMet with each value found, and then the alias stays where it is. Raises
        InvalidCondition, InvalidName, InvalidReference, NotFound or Damaged.
        """
        from kept.store.promotion.move import promote, promotion_of
        from kept.store.rank.rule import check_unruled

        wanted, terms = promotion_of(reference, alias, condition, from_alias, message)
        check_unruled(self.logs, wanted.name, alias)
        moved = promote(self.logs, wanted, alias, terms)
        return self._changed(wanted.name, moved.record)

    def rollback(self, reference: str, *, message: str | None = None) -> Version:
        """Put an alias, "name:prod", back on the version that had it before; return that version.

        The log says which one that is. A rollback takes one move back. So a second one goes one
        move further back. Deleted versions are passed over. message is for people, who read it in
        history.

        Raises VersionNotFound if no earlier version is left, InvalidReference, ArtifactNotFound or
        Damaged.
        """
        from kept.store.promotion.move import alias_in, rollback
        from kept.store.rank.rule import check_unruled

        wanted = alias_in(reference)
        check_unruled(self.logs, wanted.name, str(wanted.alias))
        moved = rollback(self.logs, wanted, message)
        return self._changed(wanted.name, moved.record)

    def protect(self, alias: str) -> None:
        """Protect an alias in all artifacts: only promote and rollback move it then.

        No run, no set_alias and no log_artifact moves it, remove_alias refuses it, and nothing
        deletes the version that has it. The first protection raises the store to format 3, which
        an older kept refuses. It counts for writers that begin after it. A protected alias stays
        as it is. Raises InvalidName for latest, best and epoch_<n>, which kept itself moves.
        """
        from kept.store.promotion.protected import check_protectable, protect

        check_protectable([alias])
        self.create()
        protect(self.bucket, [alias])

    def unprotect(self, alias: str) -> None:
        """End the protection of an alias; raises NotFound if it is not protected."""
        from kept.store.promotion.protected import unprotect

        unprotect(self.bucket, [alias])

    def protected(self) -> list[str]:
        """Return the protected aliases, by name; a DamageWarning names a damaged one."""
        from kept.store.promotion.protected import protections

        return [found.alias for found in protections(self.bucket) if found.protected]

    def history(self, name: str | None = None) -> Iterator[Change]:
        """Yield who changed what, the newest first, of one artifact or of all.

        It reads only as far as you iterate. With all artifacts, the changes are ordered by their
        times, and protections of aliases are among them. A DamageWarning names a record that cannot
        be read. Raises ArtifactNotFound.
        """
        from kept.store.promotion.history import history

        return history(self.logs, name)

    def search(
        self,
        where: str | None = None,
        *,
        sort: str | Iterable[str] | None = None,
        limit: int | None = None,
        name: str | None = None,
        progress: Progress | None = None,
    ) -> list[Version]:
        """Return the versions of all artifacts that fit a condition.

        where is a text such as "framework = jax and test_acc > 0.9"; docs/search.md has its
        grammar. sort is a name, "-name" for the largest first, or several; without it the newest
        version comes first. Versions without the value come last. name is an artifact, or a glob
        such as "run_*". progress is called with the logs read and those to be read.

        An index in the user's cache folder makes it fast; it is checked against each log. Raises
        InvalidCondition, InvalidInput, ArtifactNotFound (a name without a glob) or Damaged.
        """
        from kept.store.search.query import query_of
        from kept.store.search.search import search

        query = query_of(where, sort, limit, name)
        return [self._of(*found) for found in search(self.logs, query, progress=progress)]

    def to_pandas(
        self,
        where: str | None = None,
        *,
        sort: str | Iterable[str] | None = None,
        limit: int | None = None,
        name: str | None = None,
    ) -> pd.DataFrame:
        """Return the versions of a search as a DataFrame, with a column for each value's name.

        Raises InvalidInput without pandas, and what search raises.
        """
        from kept.store.search.query import query_of
        from kept.store.search.search import select
        from kept.store.search.tables import data_frame

        return data_frame(select(self.logs, query_of(where, sort, limit, name)))

    def to_arrow(
        self,
        where: str | None = None,
        *,
        sort: str | Iterable[str] | None = None,
        limit: int | None = None,
        name: str | None = None,
    ) -> pa.Table:
        """Return the same as to_pandas, as an Arrow table; raises InvalidInput without pyarrow."""
        from kept.store.search.query import query_of
        from kept.store.search.search import select
        from kept.store.search.tables import arrow_table

        return arrow_table(select(self.logs, query_of(where, sort, limit, name)))

    def remove_artifact(self, name: str, *, force: bool = False) -> Removal:
        """Delete all versions of an artifact in one record; restore_artifact takes that back.

        Until a gc frees the bytes. Raises VersionInUse if a version has an alias that a person has
        put and force is not set; latest, best and epoch_<n> do not count. Raises AliasProtected in
        any case if one of them is protected. Raises ArtifactNotFound, InvalidName or Damaged.
        """
        [removed] = self.remove_artifacts([check_name(name)], force=force)
        if removed.error is not None:
            raise removed.error(str(removed.stays))
        return removed

    def remove_artifacts(  # noqa: PLR0913 - public: which artifacts, and how
        self,
        names: str | Iterable[str],
        *,
        older_than: str | float | timedelta | None = None,
        keep_aliased: bool = False,
        force: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> list[Removal]:
        """Remove the artifacts that names and patterns such as "run_*" name, as remove_artifact.

        Returns what was done with each one, and why it stays if it does. Each artifact is removed
        in one step. So if the call ends early, the same call continues.

        older_than ("30d") skips artifacts with a younger version. keep_aliased skips those with an
        alias that a person has put; without it and without force, the call raises VersionInUse
        before it removes anything. Protected ones are skipped, or raise AliasProtected if they are
        named. With dry_run nothing is changed. progress is called with the artifacts done and in
        all. Raises ArtifactNotFound for a name or a pattern that fits no artifact.
        """
        from kept.store.whole.remove import check, plan, remove_all
        from kept.store.whole.rules import Rules

        span = None if older_than is None else parse_span(older_than, "older_than")
        rules = Rules(span, keep_aliased, force, frozenset(self.protected()))
        wanted = [names] if isinstance(names, str) else list(names)
        planned = plan(self.logs, wanted, rules)
        if dry_run:
            return planned
        check(planned)
        return remove_all(self.logs, planned, rules, progress)

    def restore_artifact(self, name: str) -> Restored:
        """Take the last removal of an artifact back: its versions exist again, with all aliases.

        Returns the numbers of these versions, and of those whose content gc has freed. Versions
        that were deleted one by one stay deleted. An artifact that was not removed stays as it is.

        Raises VersionGone if gc has freed all of them, ArtifactNotFound (also if it was renamed),
        InvalidName or Damaged.
        """
        from kept.store.whole.restore import restore_all

        [restored] = restore_all(self.logs, [check_name(name)])
        return restored

    def restore_artifacts(
        self, names: str | Iterable[str], progress: Progress | None = None
    ) -> list[Restored]:
        """Restore the artifacts that names and patterns such as "run_*" name.

        A pattern means the artifacts that are removed. progress is called with the artifacts done
        and in all. Raises what restore_artifact raises, except VersionGone for a pattern.
        """
        from kept.store.whole.restore import restore_all

        return restore_all(self.logs, [names] if isinstance(names, str) else list(names), progress)

    def rename(self, old: str, new: str, *, progress: Progress | None = None) -> int:
        """Give an artifact another name; return the number of its versions.

        No byte is moved: the versions, their numbers, aliases and history appear under the new
        name, and the old one has none. A version that another process commits to the old
        name meanwhile comes along. One that it commits later lies under the old name; the same call
        brings it along. Signatures do not, because they name the artifact. To undo it, rename it
        back. An interrupted call continues if it is repeated. progress is called with the steps
        done and in all.

        Raises ArtifactNotFound, InvalidName (also if the new name has versions of its own),
        AliasProtected or Damaged.
        """
        from kept.store.whole.rename import rename

        return rename(self.logs, old, new, progress)

    def copy(
        self, source: str | Version, name: str, *, progress: Progress | None = None
    ) -> Version:
        """Log the content of a version as the newest version of an artifact of this store.

        source is a reference in this store, or a Version of any store. Only bytes that this store
        lacks are moved: none from the same store. Metadata, metrics, tags and description come
        along, aliases and signatures do not, and the `uses` of the copy names its source. If the
        newest version has the content already, there is no new version, as with log_artifact,
        and what is said of it stays. progress is called with the moved bytes, done and in all.

        Raises NotFound, InvalidName, InvalidReference, InvalidInput (the artifact has another
        type), NotSigned (see open_store), Damaged, or what either store raises.
        """
        from kept.store.origin.links import link_to
        from kept.store.version import after_commit
        from kept.store.whole.copy import copy_version, original_of

        check_name(name)
        version = self.version(source) if isinstance(source, str) else source
        if version.store.required_keys:
            version.check_signed(version.store.required_keys)
        original = original_of(version.store.logs, version.record, link_to(version), self.logs)
        self.create()
        committed = copy_version(original, self.logs.of(name), progress)
        return after_commit(self._changed(name, committed.record), committed)

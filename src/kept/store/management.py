"""What a store offers after the save: promotion, history, search, and whole artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.errors import InvalidReference
from kept.names import Reference, check_own_alias, parse_reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.base import Bucket
    from kept.store.log.history import VersionRecord
    from kept.store.log.log import Logs
    from kept.store.promotion.history import Change
    from kept.store.version import Version


class Management:
    """The part of a Store that ranks, promotes, searches, renames and removes."""

    bucket: Bucket
    logs: Logs

    if TYPE_CHECKING:

        def create(self) -> None: ...
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
        from kept.store.promotion.move import promote, terms_of

        wanted = parse_reference(reference)
        if from_alias is not None and reference == wanted.name:
            wanted = Reference(wanted.name, alias=from_alias)
        terms = terms_of(condition, from_alias, message)
        moved = promote(self.logs, wanted, check_own_alias(alias), terms)
        return self._changed(wanted.name, moved.record)

    def rollback(self, reference: str, *, message: str | None = None) -> Version:
        """Put an alias, "name:prod", back on the version that had it before; return that version.

        The log says which one that is. A rollback takes one move back. So a second one goes one
        move further back. Deleted versions are passed over. message is for people, who read it in
        history.

        Raises VersionNotFound if no earlier version is left, InvalidReference, ArtifactNotFound or
        Damaged.
        """
        from kept.store.promotion.move import rollback

        wanted = parse_reference(reference)
        if wanted.alias is None:
            raise InvalidReference(
                f"A rollback takes an alias, as NAME:ALIAS. Received: {reference!r}"
            )
        check_own_alias(wanted.alias)
        moved = rollback(self.logs, wanted, message)
        return self._changed(wanted.name, moved.record)

    def protect(self, alias: str) -> None:
        """Protect an alias in all artifacts: only promote and rollback move it then.

        No run, no set_alias and no log_artifact moves it, remove_alias refuses it, and nothing
        deletes the version that has it. The first protection raises the store to format 3, which
        an older kept refuses. It counts for writers that begin after it. A protected alias stays
        as it is. Raises InvalidName for latest, best and epoch_<n>, which kept itself moves.
        """
        from kept.store.promotion.protected import protect

        self.create()
        protect(self.bucket, alias)

    def unprotect(self, alias: str) -> None:
        """End the protection of an alias; raises NotFound if it is not protected."""
        from kept.store.promotion.protected import unprotect

        unprotect(self.bucket, alias)

    def protected(self) -> list[str]:
        """Return the protected aliases, by name; a DamageWarning names a damaged one."""
        from kept.store.promotion.protected import protections

        return [found.alias for found in protections(self.bucket) if found.protected]

    def history(self, name: str | None = None) -> Iterator[Change]:
        """Yield who changed what, the newest first, of one artifact or of all.

        It reads only as far as you iterate. With all artifacts, the changes are ordered by their
        times, and protections of aliases are among them. Raises ArtifactNotFound or Damaged.
        """
        from kept.store.promotion.history import history

        return history(self.logs, name)

"""What a store offers for its upkeep: retention, gc, checks, repair, compaction."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from kept.errors import Damaged
from kept.names import parse_reference
from kept.store.format_marker import check_format
from kept.store.log.events import certain
from kept.store.log.log import Logs
from kept.store.log.lookup import all_records, faults_of, find, view_of
from kept.units import parse_span

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from datetime import timedelta

    from kept.bucket.base import Bucket
    from kept.bucket.transfer import Progress
    from kept.store.compact.compactor import Compacted
    from kept.store.gc.collector import Collection
    from kept.store.gc.usage import Usage
    from kept.store.problems import Problem
    from kept.store.repair.plan import Plan
    from kept.store.retention.keep import Keep
    from kept.store.retention.policy import Decision
    from kept.store.scrub.report import Report


class Maintenance:
    """The part of a Store that deletes, checks, repairs and counts."""

    bucket: Bucket
    logs: Logs

    def prune(self, name: str, keep: Keep | None, *, dry_run: bool = False) -> list[Decision]:
        """Delete the versions that keep does not keep, and those that have expired.

        Returns the decision for each version, oldest first; with dry_run nothing is deleted.
        Without keep only expired versions are deleted. Until gc, undelete brings them back.
        Raises ArtifactNotFound or Damaged.
        """
        from kept.store.retention.delete import plan_prune, prune

        view = view_of(self.logs, name)
        if dry_run:
            return plan_prune(view, keep)
        return prune(view.log, keep, view)

    def gc(self, *, grace: str | float | timedelta = "24h", dry_run: bool = False) -> Collection:
        """Free the bytes that no version needs; return the deleted keys, and why.

        Expired versions are deleted first. A version deleted less than grace ago keeps its
        content, so that it can be undeleted; bytes younger than grace stay, too. Any process may
        write meanwhile. With dry_run nothing is deleted.

        Raises InvalidInput, or Damaged if a version's manifest cannot be read: its needs are
        unknown then, and nothing is deleted.
        """
        from kept.store.gc.collector import collect

        return collect(self.logs, parse_span(grace, "grace"), dry_run=dry_run)

    def verify(  # noqa: PLR0913 - public: what to read, and how
        self,
        reference: str | None = None,
        *,
        sample: str | float = 1.0,
        newer_than: str | float | timedelta | None = None,
        limit_rate: str | int | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> Report:
        """Read one version, or the whole store, and check every byte; return what is damaged.

        sample is the share of the blobs to read ("5%" or 0.05), each time another random one. With
        newer_than, only the content of versions committed since is read ("7d"). limit_rate is how
        many bytes are read in a second ("50MB"). Logs and manifests are always read as a whole.
        progress is called with the bytes done and in all.

        A check of more than some seconds notes in the user's cache folder which blobs are sound. If
        it was interrupted, the same call with resume=True skips these, unless they were stored
        again since. What the server of object storage refuses to send, twice, is in the report as
        unread, and not as a problem. Raises InvalidInput, NotFound, or RemoteError if the store
        does not answer, or refuses a list.
        """
        from kept.store.scrub.options import Options
        from kept.store.scrub.verify import verify

        options = Options(
            sample=sample, newer_than=newer_than, limit_rate=limit_rate, resume=resume,
            progress=progress,
        )  # fmt: skip
        if reference is None:
            return verify(self.logs, None, options)
        wanted = parse_reference(reference)
        return verify(
            self.logs, (wanted.name, find(view_of(self.logs, wanted.name), wanted)), options
        )

    def repair(
        self, copies: Iterable[str | os.PathLike[str]] = (), *, dry_run: bool = False
    ) -> Plan:
        """Bring back what is damaged or lost; return the steps, and what stays lost.

        copies are mirrors of the store, and folders or files with checkpoints. What is replaced
        stays in damaged/. Other programs may write meanwhile. With dry_run nothing is changed.
        """
        from kept.store.repair.repair import repair

        plan = repair(self.bucket, list(copies), dry_run=dry_run)
        if not dry_run:
            self.logs = Logs(self.bucket, check_format(self.bucket))
        return plan

    def compact(self, name: str | None = None, *, progress: Progress | None = None) -> Compacted:
        """Store the versions of an artifact, or all, in less room; return the savings.

        Records that only gcs need are folded away from what readers read.

        The content of versions stays the same. Any thread or process may use the store meanwhile,
        and a crash does no harm. progress is called with the versions done and in all.

        Raises ArtifactNotFound.
        """
        from kept.store.compact.compactor import Compactor

        artifacts = all_records(self.logs, name)  # first: it raises ArtifactNotFound
        for each in [name] if name else self.logs.names():
            with contextlib.suppress(Damaged, OSError):  # readers can do without folded pages
                view = self.logs.of(each).view()
                view.log.pages.folded.write(view.paged, certain(view.facts()))
        return Compactor(self.bucket).compact_all(artifacts, progress)

    def usage(self, name: str | None = None) -> Usage:
        """Return the bytes that an artifact, or the whole store, takes; raises ArtifactNotFound."""
        from kept.store.gc.usage import usage

        if name is not None:
            view_of(self.logs, name)
        return usage(self.bucket, all_records(self.logs, None, deleted=True), name)

    def problems(self) -> list[Problem]:
        """Return what is damaged in the logs and in kept.json; verify also reads all content."""
        return faults_of(self.logs)

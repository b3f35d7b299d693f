"""Checks the content of versions: their manifests, and each blob that they need, once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from kept.parallel import mapped
from kept.store.content.manifest import Manifest, manifest_key
from kept.store.content.read_manifest import read_manifest
from kept.store.log.history import live
from kept.store.problems import Problem
from kept.store.scrub.affected import Finding, affected
from kept.store.scrub.blobs import READ_ERRORS, Needs, is_missing, read_all, reason
from kept.store.scrub.metered import MeteredBucket
from kept.store.scrub.refusals import Unread
from kept.store.scrub.resumable import Bookmark, marks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.base import Bucket
    from kept.store.log.history import VersionRecord
    from kept.store.log.log import Logs
    from kept.store.scrub.affected import Named
    from kept.store.scrub.blobs import BlobFault
    from kept.store.scrub.options import Options
    from kept.store.scrub.report import Report

LONG = 10.0  # seconds that a check is expected to take before it gets a bookmark
_SPEED = 100e6  # bytes per second that it is expected to read
RESUME = "{} of {} blobs are read. The same check with resume, or --resume, continues there."


class ContentCheck:
    """One check; use it once. It adds to a report."""

    def __init__(self, logs: Logs, options: Options, report: Report) -> None:
        self._logs, self._options, self._report = logs, options, report
        self._meter = MeteredBucket(logs.bucket)
        self._bucket = cast("Bucket", self._meter)
        self._needs = Needs()
        self._findings: list[Finding] = []

    def run(self, versions: list[Named], what: str) -> None:
        """Check versions; what names the check, for its bookmark."""
        wanted = self._with_content([v for v in versions if self._options.include(v[1])])
        read = mapped(lambda named: (named, self._manifest(*named)), wanted, self._concurrency)
        readable: list[Named] = []
        for named, found in read:
            self._report.versions += not named[1].deleted
            if isinstance(found, Finding):
                self._findings.append(found)
            else:
                self._needs.add(found)
                readable.append(named)
        faults = self._read_blobs(what)
        self._findings += affected(self._bucket, readable, faults)
        self._report.problems += map(_problem, self._still_wrong())

    @property
    def _concurrency(self) -> int:
        return self._logs.bucket.concurrency

    def _with_content(self, versions: list[Named]) -> list[Named]:
        """Leave out deleted versions whose content gc has freed: undelete cannot restore them."""
        if not any(record.deleted for _, record in versions):
            return versions
        try:
            existing = set(self._bucket.keys("manifests/"))
        except READ_ERRORS as error:
            reason("manifests/", error)
            existing = set()
        return [v for v in versions if not v[1].deleted or manifest_key(v[1].manifest) in existing]

    def _manifest(self, name: str, record: VersionRecord) -> Manifest | Finding:
        key = manifest_key(record.manifest)
        try:
            return read_manifest(self._bucket, record)
        except Unread as error:
            return Finding(name, record, error.key, str(error), is_missing=False)
        except READ_ERRORS as error:
            return Finding(name, record, key, reason(key, error), is_missing(self._bucket, key))

    def _read_blobs(self, what: str) -> dict[str, list[BlobFault]]:
        """Read the blobs that the options choose; return the faults of each that has any."""
        options, needs, report = self._options, self._needs, self._report
        given = (self._bucket.location, what, str(options.sample), str(options.newer_than))
        bookmark = Bookmark(*given, resume=options.resume)
        chosen = needs.sample(options.share, bookmark.seed)
        seconds = sum(map(needs.size, chosen)) / min(options.rate, _SPEED)
        if bookmark.before or seconds >= LONG:
            bookmark.begin(marks(self._bucket, needs, chosen))
        left = [blob for blob in chosen if not bookmark.has(blob)]
        report.all_blobs, report.skipped = len(needs), len(chosen) - len(left)
        report.continues = bookmark.before.began if bookmark.before else None
        try:
            faults = self._read(left, bookmark)
        except BaseException as error:
            if bookmark.end(is_done=False):
                error.add_note(RESUME.format(report.skipped + report.blobs, len(chosen)))
            raise
        bookmark.end(is_done=True)
        return faults

    def _read(self, blobs: list[str], bookmark: Bookmark) -> dict[str, list[BlobFault]]:
        report, options = self._report, self._options
        total, faults = sum(map(self._needs.size, blobs)), {}
        for read in read_all(self._bucket, self._needs, blobs):
            report.blobs += 1
            report.chunks += read.chunks
            report.bytes += read.size
            if read.faults:
                faults[read.blob] = read.faults
            else:
                bookmark.add(read.blob)
            if options.progress:
                options.progress(report.bytes, total)
            time.sleep(self._meter.pause(options.rate))
        return faults

    def _still_wrong(self) -> Iterator[Finding]:
        """Yield the findings, except the bytes that gc has freed of deleted versions."""
        alive: dict[str, set[int]] = {}
        for finding in self._findings:
            if finding.is_missing:
                if finding.name not in alive:
                    alive[finding.name] = self._alive(finding.name)
                if finding.record.index not in alive[finding.name]:
                    continue
            yield finding

    def _alive(self, name: str) -> set[int]:
        """Return the versions of an artifact that are not deleted now; some were at the start."""
        return {record.index for record in live(self._logs.of(name).view().facts(), [])}


def _problem(finding: Finding) -> Problem:
    where = f"{finding.name}:v{finding.record.index}"
    note = " (the version is deleted, and undelete could not restore it)"
    message = finding.message + (note if finding.record.deleted else "")
    return Problem(where, message, finding.key)

"""Reads a store again and checks every byte, or a sample. Reports, never repairs.

Invariant: an error of one key hides no other. So each key is read inside its own try, and only
errors that concern all keys (no connection, a refused list, no memory) end the check. A key that a
server refuses to send is unread: no damage, and not sound either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from kept.errors import KeptError, KeyNotFound, RemoteError, StoreError
from kept.parallel import mapped
from kept.store.format_marker import FORMAT_KEY, check_format
from kept.store.log.fence import lists, read_list
from kept.store.log.history import version_records
from kept.store.log.log import Logs
from kept.store.log.records import number_of
from kept.store.problems import Problem
from kept.store.promotion.protected import damaged_protections
from kept.store.receipts import damaged_receipts, lost_end, readable_receipts
from kept.store.scrub.blobs import READ_ERRORS, reason
from kept.store.scrub.content import ContentCheck
from kept.store.scrub.refusals import PatientBucket
from kept.store.scrub.report import Report

if TYPE_CHECKING:
    from kept.bucket.base import Bucket
    from kept.store.log.events import Event, Fault, Item
    from kept.store.log.log import Log
    from kept.store.receipts import Receipt
    from kept.store.scrub.affected import Named
    from kept.store.scrub.options import Options

_FOLDERS = ("blobs/", "manifests/", "new/", "signatures/")


def verify(logs: Logs, only: Named | None, options: Options) -> Report:
    """Check one version, or everything: see Store.verify."""
    report = Report()
    patient = PatientBucket(logs.bucket)
    if logs.bucket.is_remote:
        logs = Logs(cast("Bucket", patient), logs.marker)
    versions = [only] if only else StoreCheck(logs, report).run()
    what = f"{only[0]}:v{only[1].index}" if only else ""
    ContentCheck(logs, options, report).run(versions, what)
    patient.sort_out(report)
    return report


def whole_log(log: Log) -> list[Item]:
    """Return all items of a log, read from its records alone; pages say how far it went."""
    pages = (number for number in log.pages.numbers() if log.pages.cached(number) is not None)
    return log.records.read_all(1, sorted({*log.records.numbers(), *pages}), None)


class StoreCheck:
    """Checks what is not the content of versions: logs, pages, lists, receipts, kept.json."""

    def __init__(self, logs: Logs, report: Report) -> None:
        self._logs, self._bucket, self._report = logs, logs.bucket, report
        self._heads: dict[str, int] = {}  # artifact -> the number of its newest record

    def run(self) -> list[Named]:
        """Add what is wrong to the report; return all versions of all logs, deleted ones too."""
        self._check_marker()
        self._check_folders()
        self._check_lists()
        self._check_protections()
        # Before the logs are read, because a mirror may confirm a record that comes meanwhile.
        confirmed = self._check_receipts()
        versions: list[Named] = []
        logs = map(self._logs.of, self._names())
        for check in mapped(_LogCheck, logs, self._bucket.concurrency):
            self._heads[check.name] = check.head
            self._report.problems += check.problems
            versions += check.versions
        for receipt in confirmed:
            self._check_end(receipt)
        return versions

    def _check_marker(self) -> None:
        try:
            problem = check_format(self._bucket).problem
        except RemoteError:
            raise
        except (*READ_ERRORS, StoreError) as error:
            problem = reason(FORMAT_KEY, error)
        if problem:
            self._found(FORMAT_KEY, problem, FORMAT_KEY)

    def _check_folders(self) -> None:
        """Find out whether the names in each folder can be read."""
        for folder in _FOLDERS:
            try:
                for _ in self._bucket.keys(folder):
                    pass
            except READ_ERRORS as error:
                self._cannot_read(folder, error)

    def _check_lists(self) -> None:
        try:
            found = lists(self._bucket)
        except READ_ERRORS as error:
            self._cannot_read("gc/", error)
            return
        for key in found:
            try:
                read_list(self._bucket, key)
            except READ_ERRORS as error:
                self._cannot_read(key, error)

    def _check_protections(self) -> None:
        try:
            for alias, key, error in damaged_protections(self._bucket):
                self._found(key, f"whether {alias} is protected cannot be read: {error}", key)
        except READ_ERRORS as error:
            self._cannot_read("protected/", error)

    def _check_receipts(self) -> list[Receipt]:
        try:
            for key, error in damaged_receipts(self._bucket):
                self._found(key, f"the receipt of a mirror cannot be read: {error}", key)
            return list(readable_receipts(self._bucket))
        except READ_ERRORS as error:
            self._cannot_read("outbox/", error)
            return []

    def _names(self) -> list[str]:
        try:
            return list(self._logs.names())
        except READ_ERRORS as error:
            self._cannot_read("artifacts/", error)
            return []

    def _check_end(self, receipt: Receipt) -> None:
        """Find out whether a mirror has confirmed records that the log no longer has."""
        name, last = receipt.artifact, self._heads.get(receipt.artifact, 0)
        if receipt.record > last:
            self._found(name, lost_end(receipt, last), self._logs.of(name).records.key(last + 1))

    def _cannot_read(self, key: str, error: KeptError | OSError) -> None:
        self._found(key, reason(key, error), key)

    def _found(self, where: str, message: str, key: str) -> None:
        self._report.problems.append(Problem(where, message, key))


class _LogCheck:
    """Every record and page of one artifact, read and checked."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.name = log.name
        self.problems: list[Problem] = []
        self.head = 0  # the number of the newest record
        self.versions: list[Named] = []  # those that can be read, oldest first
        try:
            items = whole_log(log)
        except READ_ERRORS as error:
            self._cannot_read(log.records.folder, error)
            return
        self.head = number_of(items[-1]) if items else 0
        faults: list[Fault] = []
        found = list(version_records(reversed(items), faults))[::-1]
        for fault in reversed(faults):
            self._found(fault.message, log.records.key(fault.number))
        self._check_pages({item["number"]: item for item in items if isinstance(item, dict)})
        self.versions = [(log.name, record) for record in found]

    def _check_pages(self, events: dict[int, Event]) -> None:
        pages = self._log.pages
        for number in pages.numbers():
            key = pages.key(number)
            try:
                page = pages.read(number)
            except KeyNotFound:  # a bigger page has just replaced it
                continue
            except READ_ERRORS as error:
                self._cannot_read(key, error)
                continue
            if any(events.get(event["number"], event) != event for event in page):
                self._found(f"{key} differs from the records it covers", key)
        for number in pages.folded.numbers():
            key = pages.folded.key(number)
            try:
                if not pages.folded.is_of(number, events):
                    pages.folded.read(number)  # raises the reason if the page cannot be read
                    self._found(f"{key} differs from the records it covers", key)
            except KeyNotFound:  # a later one has just replaced it
                continue
            except READ_ERRORS as error:
                self._cannot_read(key, error)

    def _cannot_read(self, key: str, error: KeptError | OSError) -> None:
        self._found(reason(key, error), key)

    def _found(self, message: str, key: str) -> None:
        self.problems.append(Problem(self.name, message, key))

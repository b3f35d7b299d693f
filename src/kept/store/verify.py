"""Re-reads and re-hashes the content of a store. Reports, never repairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kept.errors import Damaged, KeyNotFound
from kept.store.content.manifest import read_manifest
from kept.store.content.restore import ChunkReader
from kept.store.log.history import VersionRecord, live
from kept.store.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.bucket.base import Bucket
    from kept.bucket.transfer import Progress
    from kept.store.content.manifest import Chunk
    from kept.store.log.events import Event, Fault, Item
    from kept.store.log.log import Log


@dataclass(slots=True)
class Report:
    """How much verify has read, and the problems it has found."""

    versions: int = 0
    chunks: int = 0
    bytes: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True if nothing is damaged."""
        return not self.problems

    def raise_if_damaged(self) -> None:
        """Raise Damaged with all problems, if any."""
        if self.problems:
            raise Damaged("\n".join(map(str, self.problems)))


def verify(
    bucket: Bucket, wanted: Mapping[str, Log | VersionRecord], progress: Progress | None = None
) -> Report:
    """Check the whole log of each given artifact, or one version; see Store.verify."""
    verifier = Verifier(bucket)
    versions = [
        (name, record)
        for name, one in wanted.items()
        for record in ([one] if isinstance(one, VersionRecord) else verifier.check_log(name, one))
    ]
    for done, (name, record) in enumerate(versions, start=1):
        verifier.check_version(name, record)
        if progress:
            progress(done, len(versions))
    return verifier.report


def whole_log(log: Log) -> list[Item]:
    """Return all items of a log, read from its records alone; pages say how far it went."""
    listed = sorted({*log.records.numbers(), *log.pages.numbers()})
    return log.records.read_all(1, listed, None)


class Verifier:
    """Checks versions one after the other; reads a shared chunk once."""

    def __init__(self, bucket: Bucket) -> None:
        self.report = Report()
        self._bucket = bucket
        self._reader = ChunkReader(bucket)
        self._checked: dict[Chunk, str | None] = {}  # chunk -> the problem with it

    def check_log(self, name: str, log: Log) -> list[VersionRecord]:
        """Check every record and page of an artifact; return the versions that can be read."""
        items = whole_log(log)
        events = {item["number"]: item for item in items if isinstance(item, dict)}
        faults: list[Fault] = []
        found = list(live(reversed(items), faults))[::-1]
        for fault in reversed(faults):
            self._found(name, fault.message)
        self._check_pages(name, log, events)
        return found

    def check_version(self, name: str, record: VersionRecord) -> None:
        """Check a version's manifest and every byte of its files."""
        reference = f"{name}:v{record.index}"
        self.report.versions += 1
        try:
            manifest = read_manifest(self._bucket, record)
        except Damaged as error:
            self._found(reference, str(error))
            return
        problems = (self._check_chunk(chunk) for chunk in manifest.chunks())
        for message in dict.fromkeys(filter(None, problems)):
            self._found(reference, message)

    def _check_pages(self, name: str, log: Log, events: dict[int, Event]) -> None:
        for number in log.pages.numbers():
            try:
                page = log.pages.read(number)
            except KeyNotFound:  # a bigger page has just replaced it
                continue
            except Damaged as error:
                self._found(name, str(error))
                continue
            if any(events.get(event["number"], event) != event for event in page):
                self._found(name, f"{log.pages.key(number)} differs from the records it covers")

    def _check_chunk(self, chunk: Chunk) -> str | None:
        if chunk not in self._checked:
            self._checked[chunk] = None
            self.report.chunks += 1
            self.report.bytes += chunk.size
            try:
                self._reader.read(chunk)
            except Damaged as error:
                self._checked[chunk] = str(error)
        return self._checked[chunk]

    def _found(self, where: str, message: str) -> None:
        self.report.problems.append(Problem(where, message))

"""What each artifact of a store has, in few words: for a list of all artifacts.

In object storage the answers are remembered in one key, the overview. It is a cache: an artifact
whose log still ends with the same record needs one listing, and no record. Writers add what they
have changed at the end of their work, and readers what is missing. Two that write at the same
moment lose an entry, which costs the next reader some requests.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import Damaged, KeptError, KeyNotFound
from kept.parallel import mapped, within
from kept.store.encoding import MOST_VALUE, again_if_damaged, read_bounded, seal, unseal
from kept.store.log.events import check_moment
from kept.store.log.history import version_records
from kept.store.problems import warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.base import Bucket
    from kept.store.encoding import Json
    from kept.store.log.events import Fault
    from kept.store.log.log import Log, Logs, View

OVERVIEW = "overview.json"
_PATIENCE = 5.0  # seconds that the end of a fit waits
_DEAR = 16  # requests for logs that are not in the overview; then it is written again


@dataclass(frozen=True, slots=True)
class Summary:
    """What an artifact has."""

    type: str | None  # None if no version can be read
    versions: int  # that are not deleted
    newest: int | None  # the number of the newest of them
    size: int | None  # of the newest one, in bytes
    created_at: str | None
    aliases: list[tuple[str, int]]  # with their versions, oldest version first


class End(NamedTuple):
    """The last record of a log, as a listing shows it."""

    record: int
    size: int
    stored: float


class Known(NamedTuple):
    """An artifact in the overview."""

    end: End
    summary: Summary | None  # None if it has never had a version


class _Read(NamedTuple):
    known: Known | None  # None if the log has a fault
    summary: Summary | None
    requests: int  # about how many it took besides a listing
    faults: list[str]


def summaries(logs: Logs, names: list[str] | None = None) -> Iterator[tuple[str, Summary]]:
    """Yield each artifact that has had a version, by name; a DamageWarning names each fault.

    Pass names to ask for these only; one that has had no version is left out.
    """
    bucket = logs.bucket
    before = _remembered(bucket) if bucket.is_remote else {}
    is_whole = names is None
    names = list(logs.names()) if names is None else names
    read = mapped(lambda name: _look(logs, name, before.get(name)), names, bucket.concurrency)
    now: dict[str, Known] = {}
    requests = 0
    for name, found in zip(names, read, strict=True):
        warn(name, found.faults)
        requests += found.requests
        if found.known:
            now[name] = found.known
        if found.summary:
            yield name, found.summary
    if bucket.is_remote and requests >= _DEAR:
        _remember(bucket, now if is_whole else before | now)


def note(logs: Logs) -> None:
    """Add what this process has changed to the overview; no error is raised.

    A writer calls it at the end of its work, because it knows the logs.
    """
    grown = sorted(logs.grown)
    if not grown or not logs.bucket.is_remote:
        return
    with contextlib.suppress(KeptError, OSError):
        read = mapped(lambda name: _look_again(logs, name), grown, logs.bucket.concurrency)
        remember(logs, {name: each for name, each in zip(grown, read, strict=True) if each})
        logs.grown.difference_update(grown)


def known_now(log: Log) -> Known | None:
    """Return what this object knows of its artifact, for remember; None if that is no use.

    A writer of many logs calls it, because it cannot hold all of them until the end of its work.
    """
    if not log.bucket.is_remote:
        return None
    with contextlib.suppress(KeptError, OSError):
        found = _known_now(log)
        log.logs.grown.discard(log.name)
        return found
    return None


def remember(logs: Logs, found: dict[str, Known]) -> None:
    """Add to the overview what known_now has returned; no error is raised."""
    if not found:
        return
    with contextlib.suppress(KeptError, OSError):
        try:
            before = again_if_damaged(lambda: _read_overview(logs.bucket))
        except KeyNotFound:
            before = {}
        if any(before.get(name) != each for name, each in found.items()):
            _remember(logs.bucket, before | found)


def note_in_time(logs: Logs, seconds: float = _PATIENCE) -> None:
    """Call note, and leave it running if it takes longer: a fit does not wait for a server."""
    if logs.grown and logs.bucket.is_remote:
        with contextlib.suppress(TimeoutError):
            within(seconds, lambda: note(logs))


def _look_again(logs: Logs, name: str) -> Known | None:
    """Return what this process knows of an artifact, if its log still ends with that."""
    return _known_now(logs.of(name)) or _look(logs, name, None).known


def _known_now(log: Log) -> Known | None:
    view = log.known
    end = end_of(log.logs, log.name, view.head) if view and view.head else None
    if view is None or end is None or end.record != view.head:
        return None
    faults: list[Fault] = []
    summary = _summary(view, faults)
    return None if faults else Known(end, summary)


def _look(logs: Logs, name: str, before: Known | None) -> _Read:
    remote = logs.bucket.is_remote
    log = logs.once(name)
    if before and end_of(logs, name, before.end.record) == before.end:
        return _Read(before, before.summary, 0, [])
    view = log.view()
    faults: list[Fault] = []
    summary = _summary(view, faults)
    end = end_of(logs, name, view.head) if remote and view.head and not faults else None
    known = Known(end, summary) if end and end.record == view.head else None
    return _Read(known, summary, 2 + len(view.tail), [fault.message for fault in faults])


def end_of(logs: Logs, name: str, record: int) -> End | None:
    """Return the last record of a log that had a record; None if it has that no longer."""
    records = logs.of(name).records
    found: End | None = None
    for item in logs.bucket.items(records.folder, records.key(record - 1)):
        number = record if item.key == records.key(record) else record + 1
        found = End(number, item.size, item.stored)
    return found


def _summary(view: View, faults: list[Fault]) -> Summary | None:
    every = list(version_records(view.facts(), faults))
    if not every and not faults:  # a gc puts its fence into other logs, too
        return None
    live = [record for record in every if not record.deleted]
    newest = live[0] if live else None
    return Summary(
        every[0].type if every else None,
        len(live),
        newest and newest.index,
        newest and newest.size,
        newest and newest.created_at,
        [(alias, record.index) for record in reversed(live) for alias in record.aliases],
    )


def _remembered(bucket: Bucket) -> dict[str, Known]:
    """Return the overview, nothing if it is missing or damaged."""
    with contextlib.suppress(KeyNotFound, Damaged):
        return again_if_damaged(lambda: _read_overview(bucket))
    return {}


def _read_overview(bucket: Bucket) -> dict[str, Known]:
    value = unseal(read_bounded(bucket, OVERVIEW, MOST_VALUE), OVERVIEW)
    try:
        return {name: _known(each) for name, each in value["artifacts"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Damaged(f"{OVERVIEW} is no overview: {error!r}") from None


def _known(value: Json) -> Known:
    """Return an entry of the overview; raises ValueError or another error if it is none."""
    record, size, stored = value["end"]
    summary = value["summary"]
    return Known(End(int(record), int(size), float(stored)), summary and _checked(summary))


def _checked(value: Json) -> Summary:
    found = Summary(**value | {"aliases": [(str(a), int(index)) for a, index in value["aliases"]]})
    numbers = (found.versions, found.newest or 0, found.size or 0)
    if not all(type(n) is int for n in numbers) or type(found.type) not in (str, type(None)):
        raise ValueError("a field has a wrong type")
    if found.newest is not None:
        check_moment(found.created_at)
    return found


def _remember(bucket: Bucket, known: dict[str, Known]) -> None:
    """Write the overview; without the permission to write, the next reader reads the logs, too."""
    artifacts = {
        name: {"end": list(each.end), "summary": each.summary and asdict(each.summary)}
        for name, each in known.items()
    }
    data = seal({"artifacts": artifacts})
    if len(data) <= MOST_VALUE:
        with contextlib.suppress(KeptError):
            bucket.put(OVERVIEW, [data])

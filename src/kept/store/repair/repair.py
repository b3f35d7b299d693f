"""Repairs a store: plans all steps first, and carries them out in an order that may be cut off.

Invariants: a step writes only what its source proves, or says in the record that it does not; what
it replaces lies below damaged/ before; each step leaves a store that a further repair completes.
No version is deleted, and no record that can be read and belongs to its place is changed.
"""

from __future__ import annotations

import contextlib
import os
import time
from operator import attrgetter
from typing import TYPE_CHECKING

from kept.bucket.open import bucket_at
from kept.digest import digest
from kept.errors import Damaged, InvalidInput, KeptError, KeyExists, KeyNotFound, NotAStore
from kept.store.blobs.blob import bases_lock, blob_key, raw_form, read_blob
from kept.store.content.manifest import manifest_key
from kept.store.content.read_manifest import decode_parts
from kept.store.encoding import MOST_VALUE, read_bounded
from kept.store.format_marker import (
    EVENTS_FORMAT,
    FORMAT,
    FORMAT_KEY,
    check_format,
    encoded_marker,
    is_id,
    left_id,
    new_id,
)
from kept.store.gc.own_list import ABANDONED
from kept.store.log.events import is_later
from kept.store.log.fence import LISTS, lists, mark_damaged, read_list, unmark_damaged
from kept.store.log.history import version_records
from kept.store.log.log import Logs
from kept.store.problems import Problem
from kept.store.promotion.protected import has_protections, protected_again
from kept.store.receipts import damaged_receipts, proved_receipts, unconfirmed
from kept.store.repair.content import exists, plan_content
from kept.store.repair.logs import LogRepair
from kept.store.repair.orphans import Orphans
from kept.store.repair.plan import ASIDE, Append, Fetch, Plan, SetAside, Step, Write
from kept.store.repair.set_aside import keep_copy, set_aside
from kept.store.repair.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kept.bucket.base import Bucket
    from kept.bucket.transfer import Progress
    from kept.store.repair.content import Named


def plan_repair(
    bucket: Bucket,
    mirrors: Sequence[Bucket] = (),
    places: Sequence[str] = (),
    progress: Progress | None = None,
) -> tuple[Plan, Sources]:
    """Return what a repair would do, and the sources it would use; reads every byte of the store.

    mirrors are buckets of stores with copies, places are files and folders of checkpoints.
    progress is called with the blobs that were read and in all.
    """
    _check_permission(bucket)
    plan, sources = Plan(), Sources(bucket, mirrors, places)
    repairs = _plan_logs(bucket, mirrors, plan)
    versions = [
        (name, record)
        for name, repair in repairs.items()
        for record in version_records(reversed(repair.events), [])
    ]
    plan_content(bucket, versions, sources, plan, progress)
    if check_format(bucket).problem:
        events = (event for repair in repairs.values() for event in repair.events)
        is_newest = any(map(is_later, events)) or has_protections(bucket)
        number = EVENTS_FORMAT if is_newest else _format_of(bucket, versions)
        store_id = _id_of(bucket, mirrors)
        why = f"the store holds format {number}{'' if store_id else ', and gets a new id'}"
        plan.steps.insert(0, Write(FORMAT_KEY, encoded_marker(number, store_id or new_id()), why))
    _plan_lists(bucket, plan)
    plan.steps += [Write(*again) for again in protected_again(bucket)]
    _plan_receipts(bucket, [mirror.location for mirror in mirrors], plan)
    return plan, sources


def _format_of(bucket: Bucket, versions: Iterable[Named]) -> int:
    """Return the format that the values in a store need, if its kept.json is lost."""
    for _, record in versions:
        key = manifest_key(record.manifest)
        with contextlib.suppress(Damaged, KeyNotFound):
            if decode_parts(read_bounded(bucket, key, MOST_VALUE), key):
                return EVENTS_FORMAT
    return FORMAT


def _id_of(bucket: Bucket, mirrors: Iterable[Bucket]) -> str | None:
    """Return the id that a store had, as far as kept.json or receipts agree on it.

    The receipts of its mirrors name it, and those of a store that it mirrors.
    """
    found = {receipt.source for receipt in proved_receipts(bucket)}
    for receipt in (r for mirror in mirrors for r in proved_receipts(mirror)):
        if receipt.mirror and receipt.destination == bucket.location:
            found.add(receipt.mirror.store_id)
    ids = [store_id for store_id in found if store_id and is_id(store_id)]
    return left_id(bucket) or (ids[0] if len(ids) == 1 else None)


def carry_out(bucket: Bucket, plan: Plan, sources: Sources) -> None:
    """Do the steps of a plan; raises OSError or KeptError, after which a repair can run again."""
    # Without the lock of bases a compactor could replace a blob while it is set aside.
    with bucket.locked("repair", wait=True), bases_lock(bucket, wait=True):
        for step in plan.steps:
            _do(bucket, step, sources)


def repair(
    bucket: Bucket, places: Sequence[str | os.PathLike[str]], *, dry_run: bool = False
) -> Plan:
    """Plan a repair, and carry it out unless dry_run; see Store.repair."""
    mirrors, folders = split_places(places)
    plan, sources = plan_repair(bucket, mirrors, folders)
    if not dry_run:
        carry_out(bucket, plan, sources)
    return plan


def split_places(places: Iterable[str | os.PathLike[str]]) -> tuple[list[Bucket], list[str]]:
    """Return the buckets of the stores among the places, and the other folders and files.

    Raises InvalidInput for a place that is neither.
    """
    mirrors, folders = [], []
    for place in (os.fspath(each) for each in places):
        bucket = bucket_at(place)
        try:
            is_store = check_format(bucket).exists
        except NotAStore:
            is_store = False
        if is_store:
            mirrors.append(bucket)
        elif os.path.exists(place):
            folders.append(place)
        else:
            raise InvalidInput(f"A copy is a store, a folder or a file. Received: {place!r}")
    return mirrors, folders


def drop_replaced(bucket: Bucket) -> int:
    """Delete what earlier repairs have set aside; return the number of keys."""
    keys = list(bucket.keys(ASIDE))
    for key in keys:
        bucket.delete(key)
    return len(keys)


def _check_permission(bucket: Bucket) -> None:
    """Raise KeptError if files of other users cannot be read: they would look damaged."""
    root = getattr(bucket, "root", None)
    if root is None or os.geteuid() == 0:  # root may read all that the disk can
        return
    for where, _, names in os.walk(root):
        for path in (where, *(os.path.join(where, name) for name in names)):
            if os.path.exists(path) and not os.access(path, os.R_OK) and not _is_own(path):
                raise KeptError(f"{path} cannot be read by this user. Repair as its owner.")


def _is_own(path: str) -> bool:
    return os.stat(path).st_uid == os.geteuid()


def _plan_logs(bucket: Bucket, mirrors: Sequence[Bucket], plan: Plan) -> dict[str, LogRepair]:
    logs, copies = Logs(bucket), [Logs(mirror) for mirror in mirrors]
    known = list(proved_receipts(bucket))
    # An artifact that has lost its last file is known by its mirrors.
    names = sorted({*logs.names(), *(receipt.artifact for receipt in known)})
    receipts = {r.artifact: r for r in sorted(known, key=attrgetter("record"))}
    repairs = {
        name: LogRepair(logs.of(name), [copy.of(name) for copy in copies], receipts.get(name))
        for name in names
    }
    displaced = {place: event for repair in repairs.values()
                 for place, event in repair.displaced().items()}  # fmt: skip
    for repair in repairs.values():
        repair.exact(displaced)
    orphans = Orphans(bucket, [e for repair in repairs.values() for e in repair.events])
    for repair in repairs.values():
        repair.rest(orphans)
        repair.add_to(plan)
    return repairs


def _plan_lists(bucket: Bucket, plan: Plan) -> None:
    """Set aside the damaged lists of gcs that have ended."""
    for key in lists(bucket):
        try:
            read_list(bucket, key)
        except Damaged as error:
            stored = next((i.stored for i in bucket.items(LISTS) if i.key == key), 0.0)
            # In a folder carry_out holds the lock that a gc holds as long as it lives.
            if not bucket.is_remote or stored < time.time() - ABANDONED.total_seconds():
                plan.steps.append(SetAside(key, "the list of a gc that has ended"))
            else:
                why = f"{error} A gc may still run: repair again when the list is an hour old."
                plan.lost.append(Problem(key, why))


def _plan_receipts(bucket: Bucket, locations: Sequence[str], plan: Plan) -> None:
    """Write damaged receipts again, so that they confirm nothing and name their mirror."""
    for key, _ in damaged_receipts(bucket):
        data = unconfirmed(bucket, key, locations)
        if data is not None:
            plan.steps.append(Write(key, data, "its mirror will confirm again what it has"))
        else:
            plan.steps.append(SetAside(key, "the next sync with its mirror writes it again"))


def _do(bucket: Bucket, step: Step, sources: Sources) -> None:
    match step:
        case Write():
            _replace(bucket, step)
        case Fetch():
            _fetch(bucket, step, sources)
        case SetAside():
            is_whole = _is_whole_again(bucket, step.cause or step.key)
            if exists(bucket, step.key) and not is_whole:
                set_aside(bucket, step.key)
            elif not is_whole and step.key.startswith("blobs/"):
                mark_damaged(bucket, step.key.rpartition("/")[2])
        case Append():
            _append(bucket, step)


def _replace(bucket: Bucket, step: Write) -> None:
    """Write a value; what can be read of the old one is copied first, so that no gap arises."""
    try:
        old = bucket.get(step.key)
    except KeyNotFound:
        old = None
    except Damaged:
        set_aside(bucket, step.key)
        old = None
    if old == step.data or (old is not None and step.if_unreadable and not step.is_missing):
        return
    if old is not None and (step.is_missing or step.instead_of not in (None, digest(old))):
        raise KeptError(f"{step.key} was written since this repair was planned. Repair again.")
    if step.is_missing:
        try:
            bucket.put_if_absent(step.key, [step.data])
        except KeyExists:
            raise KeptError(
                f"{step.key} was written since this repair was planned. Repair again."
            ) from None
        return
    if old is not None:
        keep_copy(bucket, step.key, old)
    bucket.put(step.key, [step.data])


def _is_whole_again(bucket: Bucket, key: str) -> bool:
    """Return whether a blob or manifest can be read by now: an error of a disk can pass."""
    name = key.rpartition("/")[2].removesuffix(".json")
    try:
        if key == manifest_key(name):
            return digest(read_bounded(bucket, key, MOST_VALUE)) == name
        return key == blob_key(name) and len(read_blob(bucket, name)) >= 0
    except (Damaged, KeyNotFound):
        return False


def _fetch(bucket: Bucket, step: Fetch, sources: Sources) -> None:
    found = sources.find(step.blob)
    if found is None:
        raise KeptError(f"{step.key} cannot be brought back any longer: {step.why}. Repair again.")
    raw = bytes(found[0])
    if exists(bucket, step.key):
        sources.hold(step.blob)
        set_aside(bucket, step.key)
    bucket.put(step.key, raw_form([raw]))
    unmark_damaged(bucket, step.blob)


def _append(bucket: Bucket, step: Append) -> None:
    log = Logs(bucket).of(step.key)
    for view in log.views():
        event = step.event
        if any(done["write_id"] == event["write_id"] for done in view.backwards()):
            return  # an earlier repair was cut off after this step
        if event["event"] == "version":
            with contextlib.suppress(StopIteration):
                event = event | {"index": next(version_records(view.facts())).index + 1}
        if log.append_after(view, event):
            return

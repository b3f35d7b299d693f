"""Plans the repair of manifests and blobs: what a version needs, and a source that still has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kept.errors import Damaged
from kept.store.blobs.blob import bases_of, blob_key, read_blob
from kept.store.content.manifest import Manifest, manifest_key, read_manifest
from kept.store.problems import Problem
from kept.store.repair.plan import Fetch, Plan, SetAside, Write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kept.bucket.base import Bucket
    from kept.bucket.transfer import Progress
    from kept.store.log.history import VersionRecord
    from kept.store.repair.sources import Sources

Named = tuple[str, "VersionRecord"]  # the artifact, and a version of it


def plan_content(
    bucket: Bucket,
    versions: Sequence[Named],
    sources: Sources,
    plan: Plan,
    progress: Progress | None = None,
) -> None:
    """Add the steps that bring back manifests and blobs of the versions; reads every byte.

    progress is called with the blobs that were read and in all.
    """
    needs = list(_needs(bucket, versions, sources, plan))
    blobs = sorted({chunk.blob for need in needs for chunk in need.manifest.chunks()})
    problems: dict[str, str] = {}
    for done, blob in enumerate(blobs, start=1):
        if problem := _problem(bucket, blob):
            problems[blob] = problem
            sources.add_damaged(blob)
        if progress:
            progress(done, len(blobs))
    if problems:
        sources.add_set_aside()
        _plan_blobs(bucket, problems, needs, sources, plan)


class _Need(NamedTuple):
    """A version and its manifest, which can be read or will be."""

    reference: str
    record: VersionRecord
    manifest: Manifest


def _needs(
    bucket: Bucket, versions: Sequence[Named], sources: Sources, plan: Plan
) -> Iterator[_Need]:
    damaged: list[tuple[str, VersionRecord, str]] = []
    for name, record in versions:
        reference, key = f"{name}:v{record.index}", manifest_key(record.manifest)
        try:
            manifest = read_manifest(bucket, record)
        except Damaged as error:
            damaged.append((reference, record, str(error)))
            sources.add_damaged_manifest(key)
            continue
        sources.add(manifest)
        yield _Need(reference, record, manifest)
    written: set[str] = set()
    for reference, record, problem in damaged:
        key = manifest_key(record.manifest)
        found = sources.manifest(key, record.manifest)
        if found is None:
            _lose_manifest(bucket, reference, record, problem, plan)
            continue
        if key not in written:
            plan.steps.append(Write(key, found[0], found[1]))
            written.add(key)
        manifest = Manifest.decode(found[0], key)
        sources.add(manifest)
        yield _Need(reference, record, manifest)


def _lose_manifest(
    bucket: Bucket, reference: str, record: VersionRecord, problem: str, plan: Plan
) -> None:
    key = manifest_key(record.manifest)
    if not record.deleted:
        plan.lost.append(Problem(reference, problem))
    elif exists(bucket, key):  # else a gc has freed it
        plan.lost.append(Problem(reference, f"{problem} (the version is deleted)"))
        plan.steps.append(SetAside(key, f"{reference} is deleted, and cannot be undeleted"))


def _plan_blobs(
    bucket: Bucket,
    problems: Mapping[str, str],
    needs: Sequence[_Need],
    sources: Sources,
    plan: Plan,
) -> None:
    fetched: set[str] = set()
    lost: set[str] = set()
    for blob in problems:
        # A difference cannot be read without its bases, so these come first.
        bases = [base for base in reversed(bases_of(bucket, blob)) if _problem(bucket, base)]
        for each in (*bases, blob):
            found = None if each in fetched else sources.find(each)
            if found is not None:
                fetched.add(each)
                plan.steps.append(Fetch(blob_key(each), each, found[1]))
        if blob not in fetched and not (bases and bases[0] in fetched):
            lost.add(blob)
    _plan_lost(bucket, lost, problems, needs, plan)


def _plan_lost(
    bucket: Bucket,
    lost: set[str],
    problems: Mapping[str, str],
    needs: Sequence[_Need],
    plan: Plan,
) -> None:
    """Set lost blobs aside, and the manifests of deleted versions that need one."""
    for need in needs:
        missing = sorted({c.blob for c in need.manifest.chunks()} & lost)
        if not missing:
            continue
        note = " (the version is deleted)" if need.record.deleted else ""
        if not note or any(exists(bucket, blob_key(blob)) for blob in missing):
            plan.lost.append(Problem(need.reference, problems[missing[0]] + note))
        if note:
            why = f"{need.reference} is deleted, and cannot be undeleted"
            key = manifest_key(need.record.manifest)
            plan.steps.append(SetAside(key, why, cause=blob_key(missing[0])))
    for blob in sorted(lost):
        if exists(bucket, blob_key(blob)):
            why = "no copy was found; the next save that has its bytes writes it again"
            plan.steps.append(SetAside(blob_key(blob), why))


def exists(bucket: Bucket, key: str) -> bool:
    """Return whether anything lies under a key, also what cannot be read."""
    try:
        return bucket.size(key) is not None
    except Damaged:
        return True


def _problem(bucket: Bucket, blob: str) -> str | None:
    try:
        read_blob(bucket, blob, lent=True)
    except Damaged as error:
        return str(error)
    return None

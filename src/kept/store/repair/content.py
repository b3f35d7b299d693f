"""Plans the repair of manifests and blobs: what a version needs, and a source that still has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.errors import Damaged
from kept.store.blobs.blob import bases_of, blob_key, read_blob
from kept.store.content.manifest import Manifest, manifest_key, read_manifest
from kept.store.problems import Problem
from kept.store.repair.plan import Fetch, Plan, SetAside, Write

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kept.bucket.base import Bucket
    from kept.bucket.transfer import Progress
    from kept.store.log.history import VersionRecord
    from kept.store.repair.sources import Sources

Named = tuple[str, "VersionRecord"]  # the artifact, and a version of it


def plan_content(
    bucket: Bucket,
    versions: Iterable[Named],
    sources: Sources,
    plan: Plan,
    progress: Progress | None = None,
) -> None:
    """Add the steps that bring back manifests and blobs of the versions; reads every byte.

    progress is called with the blobs that were read and in all.
    """
    needed: set[str] = set()
    live: dict[str, str] = {}  # blob -> a version that needs it, and is not deleted
    for name, record in versions:
        reference = f"{name}:v{record.index}"
        manifest = _manifest(bucket, record, reference, sources, plan)
        if manifest is not None:
            sources.add(manifest)
            blobs = dict.fromkeys((chunk.blob for chunk in manifest.chunks()), reference)
            needed.update(blobs)
            live |= {} if record.deleted else blobs
    problems: dict[str, str] = {}
    for done, blob in enumerate(sorted(needed), start=1):
        if problem := _problem(bucket, blob):
            problems[blob] = problem
            sources.add_damaged(blob)
        if progress:
            progress(done, len(needed))
    _plan_blobs(bucket, problems, live, sources, plan)


def _plan_blobs(
    bucket: Bucket,
    problems: Mapping[str, str],
    live: Mapping[str, str],
    sources: Sources,
    plan: Plan,
) -> None:
    fetched: set[str] = set()
    for blob, problem in problems.items():
        # A difference cannot be read without its bases, so these come first.
        bases = [base for base in reversed(bases_of(bucket, blob)) if _problem(bucket, base)]
        for each in (*bases, blob):
            found = None if each in fetched else sources.find(each)
            if found is not None:
                fetched.add(each)
                plan.steps.append(Fetch(blob_key(each), each, found[1]))
        is_mended = blob in fetched or (bases and bases[0] in fetched)
        if not is_mended and blob in live:
            plan.lost.append(Problem(live[blob], problem))
            if exists(bucket, blob_key(blob)):
                why = f"{live[blob]} needs it; the next save that has its bytes writes it again"
                plan.steps.append(SetAside(blob_key(blob), why))


def exists(bucket: Bucket, key: str) -> bool:
    """Return whether anything lies under a key, also what cannot be read."""
    try:
        return bucket.size(key) is not None
    except Damaged:
        return True


def _manifest(
    bucket: Bucket, record: VersionRecord, reference: str, sources: Sources, plan: Plan
) -> Manifest | None:
    key = manifest_key(record.manifest)
    try:
        return read_manifest(bucket, record)
    except Damaged as error:
        problem = str(error)
    found = sources.manifest(key, record.manifest)
    if found is None:
        if not record.deleted:  # a gc may have freed it
            plan.lost.append(Problem(reference, problem))
        return None
    plan.steps.append(Write(key, found[0], found[1]))
    return Manifest.decode(found[0], key)


def _problem(bucket: Bucket, blob: str) -> str | None:
    try:
        read_blob(bucket, blob, lent=True)
    except Damaged as error:
        return str(error)
    return None

"""Plans the repair of manifests and blobs: what a version needs, and a source that still has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kept.digest import digest
from kept.errors import Damaged, KeyNotFound
from kept.store.blobs.blob import bases_of, blob_key, read_blob
from kept.store.content.manifest import manifest_key
from kept.store.content.read_manifest import decode_manifest, decode_parts, read_manifest
from kept.store.encoding import MOST_VALUE, read_bounded
from kept.store.problems import Problem
from kept.store.repair.plan import Fetch, Plan, SetAside, Step, Write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kept.bucket.base import Bucket, Buffer
    from kept.bucket.transfer import Progress
    from kept.store.content.manifest import Manifest
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
    manifests = _plan_manifests(bucket, versions, sources, plan)
    needed: set[str] = set()
    for _, record in versions:
        manifest = manifests.of(record)
        if manifest is not None:
            needed.update(chunk.blob for chunk in manifest.chunks())
    problems: dict[str, str] = {}
    for done, blob in enumerate(sorted(needed - manifests.parts.keys()), start=1):
        if problem := _problem(bucket, blob):
            problems[blob] = problem
            sources.add_damaged(blob)
        if progress:
            progress(done, len(needed))
    if problems:
        sources.add_set_aside()
        _plan_blobs(bucket, problems, _needs(bucket, versions, manifests, problems), sources, plan)


class _Manifests:
    """The manifests of a bucket, as they are, or as the repair will write them."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.written: dict[str, bytes] = {}  # digest -> bytes of those that will be written
        self.parts: dict[str, Buffer] = {}  # blob -> raw bytes of those with parts of the lists

    def of(self, record: VersionRecord) -> Manifest | None:
        """Return a version's manifest, None if nothing brings it back."""
        try:
            if record.manifest not in self.written and not self.parts:
                return read_manifest(self._bucket, record)
            key = manifest_key(record.manifest)
            data = self.written.get(record.manifest) or read_bounded(self._bucket, key, MOST_VALUE)
            if digest(data) != record.manifest:
                return None
            return decode_manifest(data, key, self._bucket, self.parts)
        except (Damaged, KeyNotFound):
            return None


class _Need(NamedTuple):
    """A version and its manifest, which can be read or will be."""

    reference: str
    record: VersionRecord
    manifest: Manifest


def _needs(
    bucket: Bucket,
    versions: Sequence[Named],
    manifests: _Manifests,
    problems: Mapping[str, str],
) -> list[_Need]:
    """Return the versions that need a damaged blob, or a base of one."""
    wanted = {*problems, *(base for blob in problems for base in bases_of(bucket, blob))}
    found = []
    for name, record in versions:
        manifest = manifests.of(record)
        if manifest and any(chunk.blob in wanted for chunk in manifest.chunks()):
            found.append(_Need(f"{name}:v{record.index}", record, manifest))
    return found


def _plan_manifests(
    bucket: Bucket, versions: Sequence[Named], sources: Sources, plan: Plan
) -> _Manifests:
    """Plan the manifests that cannot be read, and their parts; return all as they will be."""
    damaged: list[tuple[str, VersionRecord, str]] = []
    for name, record in versions:
        try:
            read_manifest(bucket, record)
        except Damaged as error:
            damaged.append((f"{name}:v{record.index}", record, str(error)))
            sources.add_damaged_manifest(manifest_key(record.manifest))
    live = {record.manifest for _, record in versions if not record.deleted}
    manifests = _Manifests(bucket)
    for reference, record, problem in damaged:
        key, name = manifest_key(record.manifest), record.manifest
        found = sources.manifest(key, name)
        steps = _plan_parts(bucket, key, found[0], sources, manifests) if found else None
        if found is None or steps is None:
            _lose_manifest(bucket, record, Problem(reference, problem), plan, live)
            continue
        plan.steps += steps
        if name not in manifests.written:
            manifests.written[name] = found[0]
            if not sources.is_in_place(key, name):
                plan.steps.append(Write(key, found[0], found[1]))
    return manifests


def _plan_parts(
    bucket: Bucket, key: str, data: bytes, sources: Sources, manifests: _Manifests
) -> list[Step] | None:
    """Return the steps that bring back the parts of a manifest, None if nothing does."""
    steps: list[Step] = []
    try:
        blobs = dict.fromkeys(part.blob for part in decode_parts(data, key))
    except Damaged:
        return None
    for blob in blobs:
        if blob in manifests.parts or _problem(bucket, blob) is None:
            continue
        sources.add_damaged(blob)
        sources.add_set_aside()
        found = sources.find(blob)
        if found is None:
            return None
        manifests.parts[blob] = bytes(found[0])
        steps.append(Fetch(blob_key(blob), blob, found[1]))
    return steps


def _lose_manifest(
    bucket: Bucket, record: VersionRecord, problem: Problem, plan: Plan, live: set[str]
) -> None:
    key = manifest_key(record.manifest)
    if not record.deleted:
        plan.lost.append(problem)
    elif exists(bucket, key):  # else a gc has freed it
        plan.lost.append(Problem(problem.where, f"{problem.message} (the version is deleted)"))
        if record.manifest not in live:
            why = f"{problem.where} is deleted, and cannot be undeleted"
            plan.steps.append(SetAside(key, why))


def _plan_blobs(
    bucket: Bucket,
    problems: Mapping[str, str],
    needs: Sequence[_Need],
    sources: Sources,
    plan: Plan,
) -> None:
    fetched: set[str] = set()
    lost: set[str] = set()
    for need in needs:
        sources.add(need.manifest)
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
    """Set lost blobs aside, and the manifests that only deleted versions with one have."""
    live = {need.record.manifest for need in needs if not need.record.deleted}
    for need in needs:
        missing = sorted({c.blob for c in need.manifest.chunks()} & lost)
        if not missing:
            continue
        note = " (the version is deleted)" if need.record.deleted else ""
        if not note or any(exists(bucket, blob_key(blob)) for blob in missing):
            plan.lost.append(Problem(need.reference, problems[missing[0]] + note))
        if note and need.record.manifest not in live:
            why = f"{need.reference} is deleted, and cannot be undeleted"
            key = manifest_key(need.record.manifest)
            plan.steps.append(SetAside(key, why, cause=blob_key(missing[0])))
    for blob in sorted(lost):
        # A missing one is marked in object storage, where writers believe that it exists.
        if bucket.is_remote or exists(bucket, blob_key(blob)):
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

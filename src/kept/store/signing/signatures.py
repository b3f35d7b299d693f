"""Signs versions, and checks their signatures: signatures/<artifact>/v<index>/<digest>.json.

A signature binds the facts of a version that never change. Aliases, expiry and deletions can change
after it, so it does not cover them. A person who can write to the store can remove signatures, but
cannot make one.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kept.digest import digest
from kept.errors import Damaged, InvalidInput, KeyNotFound, NotSigned
from kept.names import check_name
from kept.store.content.read_manifest import read_manifest
from kept.store.content.restore import restore
from kept.store.encoding import canonical
from kept.store.signing import openssf
from kept.store.signing.keys import PublicKey
from kept.store.signing.statement import (
    FILE,
    FOLDER,
    LIMIT,
    Signature,
    differences,
    facts_of,
    from_bundle,
    read_signature,
)
from kept.units import time_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kept.bucket.base import Bucket, Buffer
    from kept.bucket.transfer import Progress
    from kept.store.encoding import Json
    from kept.store.log.history import VersionRecord
    from kept.store.log.log import Log
    from kept.store.signing.keys import KeyFile

_ROOT = "signatures/"
_KEY = re.compile(r"signatures/[^/]+/v\d+/([0-9a-f]{64})\.(json|sig)")
_FILES_LIMIT = 64 * 1024 * 1024  # bytes of the signature of all files
_MOST = 256  # signatures of a version that a reader tries
_REASONS = 3  # in a message


def sign(
    log: Log,
    record: VersionRecord,
    private_key: KeyFile,
    password: str | None = None,
    progress: Progress | None = None,
) -> Signature:
    """Sign a version after a check of every byte, and store the signature; see Version.sign."""
    key = openssf.load_private_key(private_key, password)
    public = PublicKey(str(private_key), openssf.public_of(key))
    of_files = _sign_files(log, record, private_key, password, progress)
    statement = facts_of(log.name, record) | _places(log, record.index)
    statement |= {"model_signature": digest(of_files), "signed_at": time_text(datetime.now(UTC))}
    with tempfile.TemporaryDirectory(prefix="kept-") as place:
        bundle = openssf.sign_folder(_written(statement, place), private_key, password)
    signature = from_bundle(statement, bundle)
    _check_key(signature, public)  # before it is stored: a reader must accept it
    data, folder = signature.encode(), _folder(log.name, record.index)
    name = digest(data)
    read_signature(data, f"{folder}{name}.json")
    log.bucket.put(f"{folder}{digest(of_files)}.sig", [of_files])
    log.bucket.put(f"{folder}{name}.json", [data])
    return signature


def check_signed(log: Log, record: VersionRecord, keys: Sequence[PublicKey]) -> Signature:
    """Return a valid signature of the version by one of the keys.

    Raises NotSigned if the version has none, and InvalidInput if a key cannot be used.
    """
    by_id = {openssf.key_id(key): key for key in keys}
    facts = facts_of(log.name, record)
    reasons: list[str] = []
    for key in itertools.islice(_listed(log.bucket, _folder(log.name, record.index)), _MOST):
        try:
            return _verified(log.bucket, key, facts, by_id)
        except KeyNotFound:  # removed since it was listed
            continue
        except (Damaged, NotSigned) as error:
            reasons.append(str(error))
    reference, more = f"{log.name}:v{record.index}", len(reasons) - _REASONS
    found = "; ".join(reasons[:_REASONS]) + (f"; and {more} more" if more > 0 else "")
    raise NotSigned(
        f"{reference} has no valid signature by {' or '.join(key.path for key in keys)} in "
        f"{log.bucket.location}. Found: {found or 'no signature'}. "
        f"Do not trust its content, or sign it: kept sign {reference} --key PRIVATE_KEY"
    )


def has_same_history(log: Log, signature: Signature) -> bool:
    """Return whether the log still has the records that the signer saw, unchanged.

    Each record names the one before it, so two records stand for all before them. A mirror numbers
    its records itself, so there they can differ without an attack. Returns False for a damaged log.
    """
    wanted = [signature.statement[place] for place in ("record", "head")]
    oldest = min(place["number"] for place in wanted)
    newest_first = log.view().backwards()
    events = itertools.takewhile(lambda event: event["number"] >= oldest, newest_first)
    numbers = {place["number"] for place in wanted}
    try:
        seals = {e["number"]: digest(canonical(e)) for e in events if e["number"] in numbers}
    except Damaged:
        return False
    return all(seals.get(place["number"]) == place["blake3"] for place in wanted)


def files_signature(bucket: Bucket, signature: Signature) -> bytes:
    """Return the signature of the files, for the command model_signing; raises Damaged.

    Pass a signature that check_signed has returned.
    """
    statement = signature.statement
    name = statement["model_signature"]
    key = f"{_folder(statement['artifact'], statement['index'])}{name}.sig"
    try:
        return bytes(_read(bucket, key, name, _FILES_LIMIT))
    except KeyNotFound:
        raise Damaged(f"{key} is missing from {bucket.location}. Sign the version again.") from None


def has_signatures(bucket: Bucket, name: str, index: int | None = None) -> bool:
    """Return whether a version has a signature, valid or not; without index, any version."""
    folder = f"{_ROOT}{name}/" if index is None else _folder(name, index)
    return any(_KEY.fullmatch(key) for key in bucket.keys(folder))


def claimed_signatures(log: Log, index: int) -> list[Signature]:
    """Return the stored signatures of a version that can be read, without a check of any key.

    They are claims: a person who can write to the store can put any text there.
    """
    found = []
    for key in itertools.islice(_listed(log.bucket, _folder(log.name, index)), _MOST):
        match = _KEY.fullmatch(key)
        assert match is not None
        with contextlib.suppress(Damaged, KeyNotFound):
            found.append(read_signature(_read(log.bucket, key, match[1], LIMIT), key))
    return found


def copy_signatures(source: Bucket, target: Bucket, name: str, done: set[str]) -> None:
    """Copy the signatures of an artifact that the target lacks.

    Skips keys in done, and adds to it. A signature that is damaged is not copied: the source
    reports it when a user checks that version.
    """
    for key in source.keys(f"{_ROOT}{check_name(name)}/"):
        match = _KEY.fullmatch(key)
        if match is None or key in done:
            continue
        if target.size(key) is None:
            limit = LIMIT if match[2] == "json" else _FILES_LIMIT
            try:
                data = _read(source, key, match[1], limit)
            except (Damaged, KeyNotFound):
                continue
            target.put(key, [data])
        done.add(key)


def _sign_files(
    log: Log,
    record: VersionRecord,
    private_key: KeyFile,
    password: str | None,
    progress: Progress | None,
) -> bytes:
    """Return the signature of a version's files, which model_signing can verify without kept."""
    manifest = read_manifest(log.bucket, record)
    with tempfile.TemporaryDirectory(prefix="kept-") as place:
        files = Path(place) / f"{log.name}-v{record.index}"
        restore(log.bucket, manifest, files, progress)
        data = openssf.sign_folder(files, private_key, password)
    if len(data) > _FILES_LIMIT:
        raise InvalidInput(
            f"{log.name}:v{record.index} has too many files to sign: expected a signature of at "
            f"most {_FILES_LIMIT} bytes, found {len(data)}"
        )
    return data


def _places(log: Log, index: int) -> dict[str, Json]:
    """Return the record of a version, and the newest record; raises Damaged."""
    head: Json = None
    for event in log.view().backwards():
        head = head or _place(event)
        if event["event"] == "version" and event["index"] == index:
            return {"head": head, "record": _place(event)}
    raise Damaged(f"The log of {log.name} has no record of v{index}. Run kept repair.")


def _place(event: Mapping[str, Json]) -> Json:
    return {"blake3": digest(canonical(event)), "number": event["number"]}


def _verified(
    bucket: Bucket, key: str, facts: dict[str, Json], by_id: Mapping[str, PublicKey]
) -> Signature:
    """Return the signature at a key; raises NotSigned, Damaged or KeyNotFound."""
    match = _KEY.fullmatch(key)
    assert match is not None
    signature = read_signature(_read(bucket, key, match[1], LIMIT), key)
    other = differences(signature.statement, facts)
    if other:
        raise NotSigned(f"{key} is of another version: it differs in {', '.join(other)}")
    public = by_id.get(signature.key_id)
    if public is None:
        raise NotSigned(f"{key} is by another key, {signature.key_id[:16]}…")
    try:
        _check_key(signature, public)
    except NotSigned as error:
        raise NotSigned(f"{key} is forged: {error}") from None
    return signature


def _check_key(signature: Signature, key: PublicKey) -> None:
    """Raise NotSigned unless the key has made the signature."""
    with tempfile.TemporaryDirectory(prefix="kept-") as place:
        folder = _written(signature.statement, place)
        openssf.verify_folder(folder, canonical(signature.bundle), key)


def _written(statement: dict[str, Json], place: str) -> Path:
    """Write a statement to a folder of the name that all statements have; return the folder."""
    folder = Path(place) / FOLDER
    folder.mkdir()
    (folder / FILE).write_bytes(canonical(statement))
    return folder


def _read(bucket: Bucket, key: str, name: str, limit: int) -> Buffer:
    """Return the value of a key that is named by its digest; raises Damaged or KeyNotFound."""
    data = bucket.get(key, 0, limit + 1)
    if len(data) > limit:
        raise Damaged(f"{key} is larger than a signature: expected at most {limit} bytes")
    if digest(data) != name:
        raise Damaged(f"{key} is damaged: its bytes have another digest than its name")
    return data


def _listed(bucket: Bucket, folder: str) -> Iterator[str]:
    """Yield the keys of a version's signatures; readers ignore other keys."""
    keys = (key for key in bucket.keys(folder) if key.endswith(".json"))
    return (key for key in keys if _KEY.fullmatch(key))


def _folder(name: str, index: int) -> str:
    return f"{_ROOT}{name}/v{index}/"

"""Receipts of mirrors, kept in the source store: outbox/<id>/<artifact>.json.

A receipt says up to which record a mirror has an artifact; it lacks the rest of the log. So a lost
or late receipt costs a look at the mirror, and never a version. A damaged one confirms nothing, and
the store still has that mirror: the key names the artifact, and mostly the mirror is known, too.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.digest import digest
from kept.errors import Damaged, KeyNotFound
from kept.names import is_name
from kept.store.encoding import MOST_RECORD, again_if_damaged, canonical, parse, read_bounded
from kept.store.problems import warn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.bucket.base import Bucket
    from kept.store.encoding import Json
    from kept.store.log.log import Logs

_ROOT = "outbox/"
_FOLDER = re.compile(r"outbox/[0-9a-f]{16}")
_KEY = re.compile(_FOLDER.pattern + r"/[A-Za-z0-9._-]+\.json")
_CORE = ("destination", "artifact", "record", "version")
_DESTINATION = re.compile(rb'"destination":("(?:[^"\\]|\\.)*")')


class MirrorHead(NamedTuple):
    """The newest record of an artifact in its mirror: it shows whether this is still the mirror."""

    number: int
    write_id: str
    store_id: str = ""  # in the mirror's kept.json; a store of an earlier kept has none


class Receipt(NamedTuple):
    """How much of an artifact a destination has confirmed."""

    destination: str  # a folder of receipts if is_located is False
    artifact: str
    record: int  # of the source's log, with all before it
    version: int  # the newest one, -1 for none
    mirror: MirrorHead | None = None  # when it confirmed this; no earlier kept wrote it
    source: str | None = None  # the id of the store that is mirrored

    @property
    def is_located(self) -> bool:
        """Whether the destination is known; a damaged receipt may hide it."""
        return not self.destination.startswith(_ROOT)


class Receipts:
    """The receipts of one destination: its location or name, or their folder if that is hidden."""

    def __init__(self, bucket: Bucket, destination: str, source: str | None = None) -> None:
        """Take the bucket of the store that is mirrored, and the id of this store if known."""
        self._bucket = bucket
        self._destination, self._source = destination, source
        is_folder = _FOLDER.fullmatch(destination)
        self._folder = f"{destination if is_folder else _ROOT + _id_of(destination)}/"

    def register(self, artifact: str) -> None:
        """Record durably that the destination mirrors an artifact.

        A DamageWarning names a receipt that cannot be read, and that is written again.
        """
        key = self._key(artifact)
        try:
            _parsed(self._bucket, key)
        except (KeyNotFound, Damaged) as error:
            if isinstance(error, Damaged):
                warn(artifact, [f"{error}. It is written again, and confirms nothing until then."])
            self.confirm(artifact, 0, -1)

    def revoke(self) -> None:
        """Record durably that the destination confirms nothing, because it has lost versions."""
        for artifact in self.artifacts():
            self.confirm(artifact, 0, -1)

    def confirm(
        self, artifact: str, record: int, version: int, mirror: MirrorHead | None = None
    ) -> None:
        """Record durably that the destination has all events up to a record."""
        receipt = Receipt(self._destination, artifact, record, version, mirror, self._source)
        self._bucket.put(self._key(artifact), [_encoded(receipt)])

    def forget(self, artifact: str) -> None:
        """Remove the receipt of an artifact: the destination mirrors it no longer."""
        self._bucket.delete(self._key(artifact))

    def receipt(self, artifact: str) -> Receipt | None:
        """Return the receipt of an artifact, or None if the destination does not mirror it.

        A damaged one confirms nothing.
        """
        try:
            return _parsed(self._bucket, self._key(artifact))[0]
        except KeyNotFound:
            return None
        except Damaged:
            return Receipt(self._destination, artifact, 0, -1)

    def artifacts(self) -> list[str]:
        """Return the artifacts that the destination mirrors."""
        return [_artifact_in(key) for key in _keys(self._bucket, self._folder)]

    def _key(self, artifact: str) -> str:
        return f"{self._folder}{artifact}.json"


def receipts(bucket: Bucket) -> Iterator[Receipt]:
    """Yield the receipts of every destination that the store knows.

    A DamageWarning names one that cannot be read; it is yielded as one that confirms nothing.
    """
    return receipts_at(bucket, _keys(bucket))


def receipts_at(bucket: Bucket, keys: Iterable[str]) -> Iterator[Receipt]:
    """Yield the receipts with these keys; see receipts for a damaged one."""
    for key in keys:
        try:
            yield _parsed(bucket, key)[0]
        except KeyNotFound:  # removed since it was listed
            continue
        except Damaged as error:  # it confirms nothing
            warn(_artifact_in(key), [_unknown(error)])
            place = _destination_of(bucket, key, ()) or key.rpartition("/")[0]
            yield Receipt(place, _artifact_in(key), 0, -1)


def readable_receipts(bucket: Bucket) -> Iterator[Receipt]:
    """Yield the receipts that can be read, without a warning of the others."""
    return filter(None, (_read(bucket, key) for key in _keys(bucket)))


def proved_receipts(bucket: Bucket) -> Iterator[Receipt]:
    """Yield the receipts whose checksum shows that they are as they were written."""
    for key in _keys(bucket):
        with contextlib.suppress(KeyNotFound, Damaged):
            receipt, has_checksum = _parsed(bucket, key)
            if has_checksum:
                yield receipt


def check_ends(logs: Logs) -> None:
    """Raise Damaged if a mirror has confirmed records that a log no longer has."""
    for receipt in readable_receipts(logs.bucket):
        head = logs.of(receipt.artifact).view().head
        if receipt.record > head:
            raise Damaged(f"{receipt.artifact}: {lost_end(receipt, head)}. Run kept repair.")


def lost_end(receipt: Receipt, head: int) -> str:
    """Return the message about records that a mirror has confirmed, and the log no longer has."""
    lost = receipt.record - head
    many = "the last record is" if lost == 1 else f"the last {lost} records are"
    return (
        f"the mirror {receipt.destination} has confirmed record {receipt.record}, the log ends "
        f"with {head}: {many} lost"
    )


def damaged_receipts(bucket: Bucket) -> Iterator[tuple[str, Damaged]]:
    """Yield the keys of receipts that exist and cannot be read, with the reason."""
    for key in _keys(bucket):
        try:
            _parsed(bucket, key)
        except KeyNotFound:
            continue
        except Damaged as error:
            yield key, error


def unconfirmed(bucket: Bucket, key: str, locations: Iterable[str]) -> bytes | None:
    """Return a receipt that confirms nothing, for a damaged one; None if its mirror is not known.

    Another receipt of the mirror names it, or its own bytes, or it is at one of the locations.
    """
    place = _destination_of(bucket, key, locations)
    return None if place is None else _encoded(Receipt(place, _artifact_in(key), 0, -1))


def _destination_of(bucket: Bucket, key: str, locations: Iterable[str]) -> str | None:
    """Return the destination of a damaged receipt; the name of its folder proves it."""
    folder = key.rpartition("/")[0]
    for other in _keys(bucket, f"{folder}/"):
        if receipt := _read(bucket, other):
            return receipt.destination
    data = b""
    with contextlib.suppress(KeyNotFound, Damaged):
        data = bytes(read_bounded(bucket, key, MOST_RECORD))
    written = (_text(found) for found in _DESTINATION.findall(data))
    return next((p for p in (*locations, *written) if f"{_ROOT}{_id_of(p)}" == folder), None)


def _text(encoded: bytes) -> str:
    with contextlib.suppress(ValueError):
        return str(json.loads(encoded))
    return ""


def _unknown(error: Damaged) -> str:
    return f"{error}. What this mirror has is not known. Run kept repair."


def _artifact_in(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")


def _keys(bucket: Bucket, folder: str = _ROOT) -> Iterator[str]:
    return (
        key for key in bucket.keys(folder) if _KEY.fullmatch(key) and is_name(_artifact_in(key))
    )


def _encoded(receipt: Receipt) -> bytes:
    """Return the stored form. An earlier kept checks the digest of the fields that it knows."""
    ids: dict[str, Json] = {
        "mirror": receipt.mirror and receipt.mirror._asdict(), "source": receipt.source,
    }  # fmt: skip
    sealed = ids | {"ids_blake3": digest(canonical(ids))} if any(ids.values()) else {}
    return canonical(
        dict(zip(_CORE, receipt, strict=False)) | {"blake3": _checksum(receipt)} | sealed
    )


def _checksum(receipt: Receipt) -> str:
    return digest(canonical(dict(zip(_CORE, receipt, strict=False))))


def _ids_in(value: dict[str, Any]) -> tuple[MirrorHead | None, str | None] | None:
    """Return what a receipt says of the mirror and the source; None if that is damaged."""
    if "ids_blake3" not in value:
        return None, None
    ids = {"mirror": value.get("mirror"), "source": value.get("source")}
    with contextlib.suppress(TypeError, UnicodeError):
        head = ids["mirror"] and MirrorHead(**ids["mirror"])
        types = [type(field) for field in (*(head or (1, "", "")), ids["source"] or "")]
        if types == [int, str, str, str] and value["ids_blake3"] == digest(canonical(ids)):
            return head, ids["source"]
    return None


def _id_of(destination: str) -> str:
    return digest(destination.encode(errors="surrogatepass"))[:16]


def _parsed(bucket: Bucket, key: str) -> tuple[Receipt, bool]:
    """Return a receipt, and whether it has a checksum; raises KeyNotFound or Damaged.

    Receipts of an earlier kept have none.
    """
    return again_if_damaged(lambda: _parsed_once(bucket, key))


def _parsed_once(bucket: Bucket, key: str) -> tuple[Receipt, bool]:
    value = parse(read_bounded(bucket, key, MOST_RECORD), key)
    if not isinstance(value, dict):
        raise Damaged(f"{key} is damaged: it is no object")
    fields: list[Any] = [value.get(name) for name in _CORE]
    receipt = Receipt(*fields)
    is_typed = list(map(type, fields)) == [str, str, int, int]
    if not is_typed or receipt.record < 0 or receipt.version < -1:
        raise Damaged(f"{key} is damaged: it is no receipt")
    if key != f"{_ROOT}{_id_of(receipt.destination)}/{receipt.artifact}.json":
        raise Damaged(
            f"{key} is damaged: it is a receipt of {receipt.destination!r} for {receipt.artifact!r}"
        )
    if value.get("blake3", _checksum(receipt)) != _checksum(receipt):
        raise Damaged(f"{key} is damaged: it does not match its checksum")
    if (ids := _ids_in(value)) is None:
        raise Damaged(f"{key} is damaged: what it says of the mirror does not match its checksum")
    return receipt._replace(mirror=ids[0], source=ids[1]), "blake3" in value


def _read(bucket: Bucket, key: str) -> Receipt | None:
    try:
        return _parsed(bucket, key)[0]
    except (KeyNotFound, Damaged):  # the same as a lost one: the mirror itself knows its versions
        return None


def mirrored_up_to(bucket: Bucket, name: str) -> int | None:
    """Return the newest version that each mirror has confirmed, -1 for none; None without one."""
    return min((receipt.version for receipt in receipts_of(bucket, name)), default=None)


def receipts_of(bucket: Bucket, name: str) -> list[Receipt]:
    """Return the receipts of an artifact; see receipts for a damaged one."""
    ends = f"/{name}.json"
    return list(receipts_at(bucket, (key for key in _keys(bucket) if key.endswith(ends))))

"""A bucket in object storage (S3, Google Cloud Storage, Azure), on obstore.

The library retries with back-off. A retry can find the key that its own first attempt has created;
a caller that must know compares the stored value (store/log/log.py).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from kept.bucket.base import Item, is_key, size_of
from kept.bucket.location import clean_location
from kept.errors import (
    InvalidInput,
    KeyExists,
    KeyNotFound,
    RemoteError,
    Unreachable,
    UnsafeServer,
)
from kept.parallel import in_threads

try:
    import obstore

    from kept.bucket.object_storage.client import open_clients
    from kept.bucket.object_storage.listing import Lists
    from kept.bucket.object_storage.requests import OutOfRange, Requests
    from kept.bucket.object_storage.uploads import AT_ONCE, Uploads, Value
except ImportError:
    raise InvalidInput(
        "Stores in object storage need the package obstore: pip install 'kept[s3]' (or kept[gcs], "
        "kept[azure])."
    ) from None

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.bucket.base import Buffer, Parts
    from kept.bucket.transfer import Transfer

READERS = 8
WRITERS = AT_ONCE  # with blobs of up to 16 MiB, 128 MiB are in memory
RETRIES = 6
_MULTIPART = 64 * 1024 * 1024  # kept's own blobs are smaller; S3 takes 5 GiB in one request
_LARGE = 1024 * 1024  # an upload that may take long
_PART = 5 * 1024 * 1024  # the least that S3 takes
# One request reads a value up to this size, such as kept's own blobs.
_RANGE = 16 * 1024 * 1024 + 4096
_HIDDEN = "tmp/"
_SINGLE_WRITER = "KEPT_SINGLE_WRITER"


class ObjectBucket:
    """A Bucket whose keys are objects below a prefix, such as s3://bucket/prefix.

    Credentials, region and endpoint come from the standard environment of each cloud; the object's
    location and repr hold none of them.
    """

    is_remote = True
    concurrency = 8

    def __init__(self, location: str) -> None:
        """Open the bucket; raises InvalidInput or RemoteError. Sends no request yet."""
        self._location = clean_location(location)
        self._single_writer = os.environ.get(_SINGLE_WRITER, "") not in ("", "0")
        self._is_safe = False
        self._lock = threading.Lock()
        self._request = Requests(self._location, RETRIES)
        clients = self._request("", lambda: open_clients(self._location, RETRIES))
        self._store, self._upload = clients.store, Uploads(clients, self._request)
        self._lists = Lists(self._store, self._request, RETRIES)

    def __repr__(self) -> str:
        return f"<ObjectBucket {self._location}>"

    @property
    def location(self) -> str:
        return self._location

    def put(self, key: str, parts: Parts) -> None:
        self._put(key, parts, mode="overwrite")

    def put_many(
        self, items: Iterable[tuple[str, Parts]], transfer: Transfer | None = None
    ) -> None:
        def put(item: tuple[str, Parts]) -> None:
            key, parts = item
            if transfer and transfer.in_parts and size_of(parts) > _PART:
                self._put_in_parts(key, parts, transfer)
            else:
                self._put(key, parts, mode="overwrite")
                if transfer:
                    transfer.moved(size_of(parts))

        in_threads(put, items, WRITERS)

    def put_if_absent(self, key: str, parts: Parts) -> None:
        if self._single_writer:
            self._put_unless_seen(key, parts)
            return
        self._check_server()
        self._create(key, parts)

    def get(self, key: str, start: int = 0, length: int | None = None) -> Buffer:
        if length == 0:
            return self._empty(key)
        options = _range(start, length)

        def read() -> tuple[int, int, Any]:
            found = obstore.get(self._store, key, options=options)
            first, last = found.range
            return first, last, found.bytes() if last - first <= _RANGE else None

        try:
            first, last, value = self._request(key, read)
        except OutOfRange:
            return b""
        return self._in_ranges(key, first, last) if value is None else memoryview(value)

    def size(self, key: str) -> int | None:
        try:
            return self._request(key, lambda: int(obstore.head(self._store, key)["size"]))
        except KeyNotFound:
            return None
        except RemoteError as error:
            if isinstance(error, Unreachable):
                raise
            refused = error
        # The answer to a HEAD has no text, so its cause is that of a GET.
        with contextlib.suppress(KeyNotFound):
            self.get(key, 0, 1)
        raise refused

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        return (item.key for item in self.items(prefix, after))

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        found = {key[len(prefix) :].partition("/")[0] for key in self.keys(prefix, prefix + after)}
        return iter(sorted(name for name in found if name > after))

    def items(self, prefix: str, after: str = "") -> Iterator[Item]:
        for item in self._lists.items(prefix, after):
            path = item["path"]
            if not path.startswith(_HIDDEN) and (not prefix or is_key(path.replace("/", ""))):
                yield Item(path, item["size"], item["last_modified"].timestamp())

    def folders(self, prefix: str) -> Iterator[str]:
        names = sorted(path.rpartition("/")[2] for path in self._lists.folders(prefix))
        return (name for name in names if is_key(name) and (prefix or f"{name}/" != _HIDDEN))

    def delete(self, key: str) -> None:
        for attempt in range(RETRIES):
            try:
                self._request(key, lambda: obstore.delete(self._store, key))
                return
            except KeyNotFound:  # Azure says so, S3 does not
                return
            except RemoteError as error:
                # S3 deletes lists of keys, and the library does not retry the error of one key.
                # If several clients delete a key at once, Ceph answers "UnknownError" to some.
                if type(error) is not RemoteError or attempt + 1 == RETRIES:
                    raise
            if self.size(key) is None:
                return
            time.sleep(0.05 * 2**attempt)

    def move(self, key: str, target: str) -> None:
        if self.size(target) is not None:
            raise KeyExists(f"The key exists already. Received: {target!r}")
        before = self._tag(key)
        self._request(key, lambda: obstore.copy(self._store, key, target))
        if self._tag(key) == before:  # else another process has just stored the key again
            self.delete(key)

    def spending_reserve(self) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def locked(self, name: str, *, wait: bool = False) -> Iterator[bool]:  # noqa: ARG002
        yield False

    def _put(self, key: str, parts: Parts, mode: str) -> None:
        options: dict[str, Any] = {"mode": mode, "use_multipart": False}
        if size_of(parts) > _MULTIPART and mode == "overwrite":
            options |= {"use_multipart": True, "chunk_size": _MULTIPART // 4, "max_concurrency": 4}
        # obstore sends the buffers without a copy.
        buffers = [memoryview(part).cast("B") for part in parts]

        def put(client: Any) -> None:
            obstore.put(client, key, iter(buffers), **options)

        size, creates = size_of(parts), mode == "create"
        if size > _LARGE:
            self._upload(Value(key, size, min(size, _MULTIPART), creates=creates), put)
        else:
            self._request(key, lambda: put(self._store), creates=creates)

    def _tag(self, key: str) -> Any:
        return self._request(key, lambda: obstore.head(self._store, key)["e_tag"])

    def _put_in_parts(self, key: str, parts: Parts, transfer: Transfer) -> None:
        """Upload a value part by part, and count each: more requests, for a better progress bar."""
        reported = 0

        def pieces() -> Iterator[memoryview]:
            nonlocal reported
            given = 0
            for part in parts:
                view = memoryview(part).cast("B")
                for start in range(0, len(view), _PART):
                    # When the library takes a third part, the first one is uploaded.
                    if given >= reported + 2 * _PART:
                        transfer.moved(_PART)
                        reported += _PART
                    piece = view[start : start + _PART]
                    given += len(piece)
                    yield piece

        options: dict[str, Any] = {"use_multipart": True, "chunk_size": _PART, "max_concurrency": 1}
        self._upload(
            Value(key, size_of(parts), _PART),
            lambda client: obstore.put(client, key, pieces(), **options),
        )
        transfer.moved(size_of(parts) - reported)

    def _create(self, key: str, parts: Parts) -> None:
        self._put(key, parts, mode="create")

    def _put_unless_seen(self, key: str, parts: Parts) -> None:
        """Stand-in for _create if the user has set KEPT_SINGLE_WRITER: there is one writer only."""
        if self.size(key) is not None:
            raise KeyExists(f"The key exists already. Received: {key!r}")
        self._put(key, parts, mode="overwrite")

    def _check_server(self) -> None:
        """Find out once for each bucket object whether the server refuses to create a key twice.

        Some servers silently ignore If-None-Match. With these, if two writers commit at once, one
        would overwrite the other's successful commit.
        """
        with self._lock:
            if not self._is_safe:
                self._is_safe = self._refuses_a_second_creation()
        if not self._is_safe:
            raise UnsafeServer(
                f"{self._location}: the server ignores If-None-Match, so two writers could "
                "overwrite each other's versions. Use a server with conditional writes (S3, GCS, "
                "Azure, Ceph, MinIO, R2, …), or set KEPT_SINGLE_WRITER=1 if only one process at a "
                "time writes to this store."
            )

    def _refuses_a_second_creation(self) -> bool:
        key = f"{_HIDDEN}probe-{os.urandom(16).hex()}"
        try:
            for _ in range(2):
                self._create(key, [b"kept finds out whether this server creates a key only once"])
        except KeyExists:
            return True
        finally:
            self.delete(key)
        return False

    def _in_ranges(self, key: str, first: int, last: int) -> bytearray:
        """Return a large value, read by several requests at once: a single one is slower."""
        value = bytearray(last - first)

        def read(start: int) -> None:
            stop = min(start + _RANGE, last)
            options = _range(start, stop - start)
            part = self._request(
                key, lambda: obstore.get(self._store, key, options=options).bytes()
            )
            value[start - first : stop - first] = memoryview(part)

        in_threads(read, range(first, last, _RANGE), READERS)
        return value

    def _empty(self, key: str) -> bytes:
        if self.size(key) is None:
            raise self._request.missing(key)
        return b""


def _range(start: int, length: int | None) -> Any:
    if length is not None:
        return {"range": (start, start + length)}
    return {"range": {"offset": start}} if start else None

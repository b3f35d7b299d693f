"""A bucket in object storage (S3, Google Cloud Storage, Azure), on obstore.

Retries with back-off are the library's. A retry can meet what its own first try has stored;
whoever creates a key that matters tells by what it holds (store/log.py).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from kept.bucket.base import Item, size_of
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

    from kept.bucket.object_storage.requests import Asking, OutOfRange
except ImportError:
    raise InvalidInput(
        "Stores in object storage need the package obstore: pip install 'kept[s3]' (or kept[gcs], "
        "kept[azure])."
    ) from None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kept.bucket.base import Buffer, Parts
    from kept.bucket.transfer import Transfer

T = TypeVar("T")

READERS = 8
WRITERS = 8  # with blobs of up to 16 MiB, 128 MiB are on their way
RETRIES = 6
_MULTIPART = 64 * 1024 * 1024  # kept's own blobs are smaller; S3 takes 5 GiB in one request
_LARGE = 1024 * 1024  # an upload that may take long
_PART = 5 * 1024 * 1024  # the least that S3 takes
_RANGE = 16 * 1024 * 1024 + 4096  # a value up to here, as kept's own blobs are, is one request
_HIDDEN = "tmp/"
_SINGLE_WRITER = "KEPT_SINGLE_WRITER"


class ObjectBucket:
    """A Bucket whose keys are objects below a prefix, such as s3://bucket/prefix.

    Credentials, region and endpoint come from the standard environment of each cloud; none are
    kept in the object's location or repr.
    """

    is_remote = True
    concurrency = 8

    def __init__(self, location: str) -> None:
        """Open it; raises InvalidInput or RemoteError. No request is made yet."""
        self._location = clean_location(location)
        self._single_writer = os.environ.get(_SINGLE_WRITER, "") not in ("", "0")
        self._is_safe = False
        self._lock = threading.Lock()
        self._ask = Asking(self._location, RETRIES)
        self._store, self._uploads = self._ask.once("", lambda: _clients(self._location))

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
        self._make_sure_it_is_safe()
        self._create(key, parts)

    def get(self, key: str, start: int = 0, length: int | None = None) -> Buffer:
        if length == 0:
            return self._nothing_of(key)
        options = _range(start, length)

        def read(store: Any) -> tuple[int, int, Any]:
            found = obstore.get(store, key, options=options)
            first, last = found.range
            return first, last, found.bytes() if last - first <= _RANGE else None

        try:
            first, last, value = self._asked(key, read)
        except OutOfRange:
            return b""
        return self._in_ranges(key, first, last) if value is None else memoryview(value)

    def size(self, key: str) -> int | None:
        try:
            return self._asked(key, lambda store: int(obstore.head(store, key)["size"]))
        except KeyNotFound:
            return None

    def keys(self, prefix: str) -> Iterator[str]:
        return (item.key for item in self.items(prefix))

    def items(self, prefix: str) -> Iterator[Item]:
        # S3, GCS and Azure list in ascending order; a long list comes page by page.
        last, attempt = None, 0
        pages = self._pages(prefix, last)
        while True:
            try:
                page = self._ask.once(prefix, lambda: next(pages, None))  # noqa: B023
            except Unreachable as error:
                self._ask.rest(error, attempt)
                pages, attempt = self._pages(prefix, last), attempt + 1
                continue
            if page is None:
                return
            for item in page:
                last = item["path"]
                if not last.startswith(_HIDDEN):
                    yield Item(last, item["size"], item["last_modified"].timestamp())

    def folders(self, prefix: str) -> Iterator[str]:
        found = self._asked(
            prefix, lambda store: obstore.list_with_delimiter(store, prefix or None)
        )
        names = sorted(path.rpartition("/")[2] for path in found["common_prefixes"])
        return (name for name in names if prefix or f"{name}/" != _HIDDEN)

    def delete(self, key: str) -> None:
        for attempt in range(RETRIES):
            try:
                self._asked(key, lambda store: obstore.delete(store, key))
                return
            except KeyNotFound:  # Azure says so, S3 does not
                return
            except RemoteError as error:
                # S3 deletes in lists, and what it says of one key the library does not try again.
                # Of several that delete a key at once, Ceph tells some of an "UnknownError".
                if type(error) is not RemoteError or attempt + 1 == RETRIES:
                    raise
            if self.size(key) is None:
                return
            time.sleep(0.05 * 2**attempt)

    @contextlib.contextmanager
    def locked(self, name: str, *, wait: bool = False) -> Iterator[bool]:  # noqa: ARG002
        yield False

    def _put(self, key: str, parts: Parts, mode: str) -> None:
        options: dict[str, Any] = {"mode": mode, "use_multipart": False}
        if size_of(parts) > _MULTIPART and mode == "overwrite":
            options |= {"use_multipart": True, "chunk_size": _MULTIPART // 4, "max_concurrency": 4}
        client = self._uploads if size_of(parts) > _LARGE else self._store
        # The buffers as they are: obstore sends them from where they lie, without a copy.
        buffers = [memoryview(part).cast("B") for part in parts]
        self._asked(key, lambda _: obstore.put(client, key, iter(buffers), **options))

    def _put_in_parts(self, key: str, parts: Parts, transfer: Transfer) -> None:
        """Upload a value part by part, and tell of each: more requests, for who watches a line."""
        told = 0

        def pieces() -> Iterator[memoryview]:
            nonlocal told
            given = 0
            for part in parts:
                view = memoryview(part).cast("B")
                for start in range(0, len(view), _PART):
                    # Asked for a third one, the library is uploading the second: one is through.
                    if given >= told + 2 * _PART:
                        transfer.moved(_PART)
                        told += _PART
                    piece = view[start : start + _PART]
                    given += len(piece)
                    yield piece

        options: dict[str, Any] = {"use_multipart": True, "chunk_size": _PART, "max_concurrency": 1}
        self._asked(key, lambda _: obstore.put(self._uploads, key, pieces(), **options))
        transfer.moved(size_of(parts) - told)

    def _create(self, key: str, parts: Parts) -> None:
        self._put(key, parts, mode="create")

    def _put_unless_seen(self, key: str, parts: Parts) -> None:
        """Stand-in for creation where the user has sworn that there is one writer only."""
        if self.size(key) is not None:
            raise KeyExists(f"The key exists already. Received: {key!r}")
        self._put(key, parts, mode="overwrite")

    def _make_sure_it_is_safe(self) -> None:
        """Find out once for each bucket object whether the server refuses to create a key twice.

        Some servers ignore If-None-Match without a word; with these, of two writers that commit
        at once one would overwrite what the other was told is committed.
        """
        with self._lock:
            if not self._is_safe:
                self._is_safe = self._refuses_a_second_creation()
        if not self._is_safe:
            raise UnsafeServer(
                f"{self._location}: the server ignores If-None-Match, so two writers could "
                "overwrite each other's versions. Use a server with conditional writes (S3, GCS, "
                "Azure, Ceph, MinIO, R2, …), or set KEPT_SINGLE_WRITER=1 if never more than one "
                "process writes to this store."
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
        """Return a large value, read by several requests side by side: one alone is slower."""
        value = bytearray(last - first)

        def read(start: int) -> None:
            stop = min(start + _RANGE, last)
            options = _range(start, stop - start)
            part = self._asked(key, lambda s: obstore.get(s, key, options=options).bytes())
            value[start - first : stop - first] = memoryview(part)

        in_threads(read, range(first, last, _RANGE), READERS)
        return value

    def _nothing_of(self, key: str) -> bytes:
        if self.size(key) is None:
            raise self._ask.missing(key)
        return b""

    def _asked(self, key: str, ask: Callable[[Any], T]) -> T:
        return self._ask(key, lambda: ask(self._store))

    def _pages(self, prefix: str, last: str | None) -> Iterator[Any]:
        """Return the pages of a listing, from after the key last on."""
        listed = lambda store: obstore.list(store, prefix or None, offset=last)  # noqa: E731
        return iter(self._asked(prefix, listed))


def _range(start: int, length: int | None) -> Any:
    if length is not None:
        return {"range": (start, start + length)}
    return {"range": {"offset": start}} if start else None


def _clients(location: str) -> tuple[Any, Any]:
    from kept.bucket.object_storage.client import open_clients

    return open_clients(location, RETRIES)

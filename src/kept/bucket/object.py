"""A bucket in object storage (S3, Google Cloud Storage, Azure), on obstore.

The one module that knows obstore: what it raises becomes kept's errors here. Retries with back-off
are the library's. A retry can meet what its own first try has stored; whoever creates a key that
matters tells by what it holds (store/log.py).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from kept.bucket.base import Item
from kept.bucket.location import clean_location
from kept.bucket.object_errors import error_of
from kept.bucket.parallel import in_threads
from kept.errors import (
    InvalidInput,
    KeyExists,
    KeyNotFound,
    RemoteError,
    UnsafeServer,
)

try:
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError
    from obstore.store import from_url
except ImportError:
    raise InvalidInput(
        "Stores in object storage need the package obstore: pip install 'kept[s3]' (or kept[gcs], "
        "kept[azure])."
    ) from None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kept.bucket.base import Buffer, Parts

T = TypeVar("T")

READERS = 8
WRITERS = 8  # with blobs of up to 16 MiB at most 256 MiB are on their way
RETRIES = 6
_MULTIPART = 64 * 1024 * 1024  # kept's own blobs are smaller; S3 takes 5 GiB in one request
_RANGE = 16 * 1024 * 1024 + 4096  # a value up to here, as kept's own blobs are, is one request
_HIDDEN = "tmp/"
_SINGLE_WRITER = "KEPT_SINGLE_WRITER"


class ObjectBucket:
    """A Bucket whose keys are objects below a prefix, such as s3://bucket/prefix.

    Credentials, region and endpoint come from the standard environment of each cloud; none are
    kept in the object's location or repr.
    """

    is_remote = True

    def __init__(self, location: str) -> None:
        """Open it; raises InvalidInput or RemoteError. No request is made yet."""
        self._location = clean_location(location)
        self._single_writer = os.environ.get(_SINGLE_WRITER, "") not in ("", "0")
        self._is_safe = False
        self._lock = threading.Lock()
        self._store: Any = None
        self._store = self._asked("", lambda _: _open(self._location))

    def __repr__(self) -> str:
        return f"<ObjectBucket {self._location}>"

    @property
    def location(self) -> str:
        return self._location

    def put(self, key: str, parts: Parts) -> None:
        self._put(key, b"".join(parts), mode="overwrite")

    def put_many(self, items: Iterable[tuple[str, Parts]]) -> None:
        in_threads(lambda item: self.put(*item), items, WRITERS)

    def put_if_absent(self, key: str, parts: Parts) -> None:
        value = b"".join(parts)
        if self._single_writer:
            self._put_unless_seen(key, value)
            return
        self._make_sure_it_is_safe()
        self._create(key, value)

    def get(self, key: str, start: int = 0, length: int | None = None) -> Buffer:
        if length == 0:
            return self._nothing_of(key)
        options = _range(start, length)
        try:
            found = self._asked(key, lambda store: obstore.get(store, key, options=options))
            first, last = found.range
            if last - first > _RANGE:
                return self._in_ranges(key, first, last)
            return memoryview(self._asked(key, lambda _: found.bytes()))
        except _OutOfRange:
            return b""

    def size(self, key: str) -> int | None:
        try:
            return self._asked(key, lambda store: int(obstore.head(store, key)["size"]))
        except KeyNotFound:
            return None

    def keys(self, prefix: str) -> Iterator[str]:
        return (item.key for item in self.items(prefix))

    def items(self, prefix: str) -> Iterator[Item]:
        # S3, GCS and Azure list in ascending order; a long list comes page by page.
        pages = iter(self._asked(prefix, lambda store: obstore.list(store, prefix or None)))
        while (page := self._asked(prefix, lambda _: next(pages, None))) is not None:
            for item in page:
                if not item["path"].startswith(_HIDDEN):
                    yield Item(item["path"], item["size"], item["last_modified"].timestamp())

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

    def _put(self, key: str, value: bytes, mode: str) -> None:
        options: dict[str, Any] = {"mode": mode, "use_multipart": False}
        if len(value) > _MULTIPART and mode == "overwrite":
            options |= {"use_multipart": True, "chunk_size": _MULTIPART // 4, "max_concurrency": 4}
        self._asked(key, lambda store: obstore.put(store, key, value, **options))

    def _create(self, key: str, value: bytes) -> None:
        self._put(key, value, mode="create")

    def _put_unless_seen(self, key: str, value: bytes) -> None:
        """Stand-in for creation where the user has sworn that there is one writer only."""
        if self.size(key) is not None:
            raise KeyExists(f"The key exists already. Received: {key!r}")
        self._put(key, value, mode="overwrite")

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
                self._create(key, b"kept finds out whether this server creates a key only once")
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
            raise self._missing(key)
        return b""

    def _missing(self, key: str) -> KeyNotFound:
        return KeyNotFound(f"No such key in {self._location}. Received: {key!r}")

    def _asked(self, key: str, ask: Callable[[Any], T]) -> T:
        """Return what ask returns; turn the library's errors into kept's.

        Those quote requests, so kept's are raised outside of the handler, not chained to them.
        """
        try:
            return ask(self._store)
        except (BaseError, OSError, ValueError) as error:
            found = self._translated(error, key)
        raise found

    def _translated(self, error: Exception, key: str) -> Exception:
        text = str(error)
        if isinstance(error, AlreadyExistsError):
            return KeyExists(f"The key exists already. Received: {key!r}")
        translated = error_of(text, self._location, key)
        if isinstance(error, FileNotFoundError) and type(translated) is RemoteError:
            return self._missing(key)
        if "status code: 416" in text or "Wanted range starting at" in text:  # S3; Azurite
            return _OutOfRange(key)
        if isinstance(error, ValueError):
            return InvalidInput(f"{self._location} cannot be used: {translated}")
        return translated


class _OutOfRange(Exception):
    """The value ends before the range begins."""


def _range(start: int, length: int | None) -> Any:
    if length is not None:
        return {"range": (start, start + length)}
    return {"range": {"offset": start}} if start else None


def _open(location: str) -> Any:
    return from_url(
        location,
        client_options={"allow_http": _names_http(), "timeout": "120s", "connect_timeout": "5s"},
        retry_config={
            "max_retries": RETRIES,
            "retry_timeout": timedelta(seconds=120),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=5),
                "base": 2,
            },
        },
        **_profile(location),
    )


def _names_http() -> bool:
    """Return whether the environment names an endpoint without TLS, in so many words."""
    names = (
        "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT",
        "AZURE_ENDPOINT", "GOOGLE_BASE_URL",
    )  # fmt: skip
    return any(os.environ.get(name, "").startswith("http://") for name in names)


def _profile(location: str) -> dict[str, Any]:
    """Return what a profile of ~/.aws says, where AWS_PROFILE asks for one: boto3 knows them."""
    if not location.startswith("s3") or not os.environ.get("AWS_PROFILE"):
        return {}
    try:
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise InvalidInput("AWS_PROFILE needs the package boto3: pip install boto3.") from None
    session = boto3.Session()
    region = {"region": session.region_name} if session.region_name else {}
    return {"credential_provider": Boto3CredentialProvider(session), **region}

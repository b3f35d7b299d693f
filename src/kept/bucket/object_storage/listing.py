"""Lists keys and folders, and takes no error page for an empty list.

A server, or a proxy before it, can answer a LIST with `200 OK` and an `<Error>` or an HTML page.
obstore reads such a body as an answer without keys: an empty list, or the end of a long one. So
kept believes an answer without keys only if another answer proves it:

* A list behind a key begins with that key, so an honest answer has at least this one.
* If a folder seems empty, the folder above must lack it. The whole store may be empty only if it
  has no kept.json.
* If a list may have taken several answers, one that begins with its last key confirms its end.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import obstore

from kept.errors import KeyNotFound, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.object_storage.requests import Requests

_WITNESS = "kept.json"  # every store has this key
# A shorter list is one answer: S3, GCS and Ceph send 1,000 keys in each one except the last.
_ONE_ANSWER = 100
_CHARACTERS = (
    "-./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"  # of keys, sorted
)


class Lists:
    """The lists of one bucket. For many threads."""

    def __init__(self, store: Any, request: Requests, retries: int) -> None:
        self._store, self._request, self._retries = store, request, retries

    def items(self, prefix: str, after: str = "") -> Iterator[Any]:
        """Yield what obstore lists below a folder, for the keys that are greater than after.

        S3, GCS and Azure list in ascending order; a long list comes page by page. Raises
        Unreachable if the server keeps answering with something else than this list.
        """
        # A commit asks for folders that are missing in most stores: one request says that.
        if not after and prefix.count("/") == 1 and self._is_missing(prefix):
            return
        known = begin = after
        doubts = 0
        while True:
            pages, seen = _Pages(self._store, prefix, begin), known
            while (page := self._request(prefix, pages.next_page)) is not None:
                for item in page:
                    if item["path"] > seen:
                        known = max(known, item["path"])
                        yield item
            if 0 < pages.received < _ONE_ANSWER or (pages.received and pages.last == begin):
                return
            if pages.received:
                begin = pages.last
                continue
            if self._is_missing(prefix):
                return
            self._doubt(prefix, doubts)
            doubts += 1
            begin = ""  # the key to begin with does not exist, so the whole folder has to answer

    def folders(self, prefix: str) -> list[str]:
        """Return the paths of the folders directly below a folder; raises Unreachable."""
        for doubts in range(self._retries + 2):
            folders, others = self._children(prefix)
            if folders or others or self._is_missing(prefix):
                break
            self._doubt(prefix, doubts)
        return folders

    def _is_missing(self, prefix: str) -> bool:
        """Return whether the folder above shows that no key lies below a folder."""
        while prefix:
            above, _, name = prefix[:-1].rpartition("/")
            above += "/" if above else ""
            folders, others = self._children(above)
            if folders or others:
                return f"{above}{name}" not in folders
            prefix = above  # an empty answer: the folder above it has to confirm that
        try:
            self._request(_WITNESS, lambda: obstore.head(self._store, _WITNESS))
        except KeyNotFound:
            return True
        return False

    def _children(self, prefix: str) -> tuple[list[str], list[str]]:
        """Return the paths directly below a folder, of folders and of keys; none if in doubt."""
        found = self._request(
            prefix, lambda: obstore.list_with_delimiter(self._store, prefix or None)
        )
        folders = list(found["common_prefixes"])
        others = [item["path"] for item in found["objects"]]
        if len(folders) + len(others) >= _ONE_ANSWER and not self._ends(prefix, folders, others):
            return [], []
        return folders, others

    def _ends(self, prefix: str, folders: list[str], others: list[str]) -> bool:
        """Return whether no key of a folder follows its last child.

        The key that follows in the store shows that. Behind artifacts/ one exists.
        """
        last = max([*(f"{path}/" for path in folders), *others])
        offset = f"{last[:-1]}0" if last.endswith("/") else last  # 0 is the character after /
        pages = iter(obstore.list(self._store, offset=offset))
        page = self._request(prefix, lambda: next(pages, None))
        if not page:
            return prefix > _WITNESS
        return not page[0]["path"].startswith(prefix)

    def _doubt(self, prefix: str, doubts: int) -> None:
        """Wait before the next attempt; raise Unreachable after the last one."""
        if doubts > self._retries:
            raise Unreachable(
                f"{self._request.location}: the server answered with something else than the list "
                f"of the keys, such as an error page, also after several attempts. Try again "
                f"later; check the endpoint and the proxies. Received for {prefix!r}: no keys, "
                "although the store has some"
            )
        time.sleep(min(0.1 * 2**doubts, 5.0))


class _Pages:
    """The pages of a list that begins with a key; after an error it begins with its last key."""

    def __init__(self, store: Any, prefix: str, begin: str) -> None:
        self._store, self._prefix = store, prefix
        self.last = begin
        self.received = 0  # keys since the list has begun
        self._pages: Iterator[Any] | None = None

    def next_page(self) -> Any:
        """Return the next page, None at the end."""
        pages, self._pages = self._pages, None  # after an error: list again
        if pages is None:
            self.received = 0
            offset = _just_before(self.last) or None
            pages = iter(obstore.list(self._store, self._prefix or None, offset=offset))
        page = next(pages, None)
        self._pages = pages
        if page:
            self.received += len(page)
            self.last = page[-1]["path"]
        return page


def _just_before(key: str) -> str:
    """Return an offset for a list that begins with a key, because servers list behind the offset.

    No other key of a store lies between the two.
    """
    start, place = key[:-1], _CHARACTERS.find(key[-1:])
    if place > 0:
        before = _CHARACTERS[place - 1]
        return f"{start}{'.' if before == '/' and start[-1:] in ('', '/') else before}zzz"
    return start.rstrip("./")  # obstore takes no part of dots

"""The pages of a listing of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import obstore

if TYPE_CHECKING:
    from collections.abc import Iterator


class Listing:
    """The pages of a listing; after an error it continues behind the last key."""

    def __init__(self, store: Any, prefix: str, after: str) -> None:
        self._store, self._prefix = store, prefix
        self._last = after or None
        self._pages: Iterator[Any] | None = None

    def next_page(self) -> Any:
        """Return the next page, None at the end."""
        pages, self._pages = self._pages, None  # after an error: list again
        if pages is None:
            pages = iter(obstore.list(self._store, self._prefix or None, offset=self._last))
        page = next(pages, None)
        self._pages = pages
        if page:
            self._last = page[-1]["path"]
        return page

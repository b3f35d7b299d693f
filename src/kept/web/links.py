"""The addresses of pages, on a server and in exported files.

Each address is relative to the page that has it. So the same pages work behind a proxy, below any
folder of a web server, and from a disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from kept.web.query import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

ASSETS = "static"


@dataclass(frozen=True)
class Links:
    """Addresses for a page that lies depth folders below the first one."""

    depth: int = 0
    in_files: bool = False  # exported: files have no queries, and each folder needs its index.html

    def store(self, query: Query | None = None) -> str:
        """Return the address of the first page."""
        return self._page("", query)

    def artifact(self, name: str, query: Query | None = None) -> str:
        """Return the address of an artifact's page."""
        return self._page(f"artifacts/{quote(name)}/", query)

    def version(self, name: str, index: int, query: Query | None = None) -> str:
        """Return the address of a version's page."""
        return self._page(f"artifacts/{quote(name)}/v{index}/", query)

    def compare(self, references: list[str], query: Query | None = None) -> str:
        """Return the address of a comparison of versions such as "m:v3"."""
        if self.in_files:
            return self._page(f"compare/{quote('..'.join(references).replace(':', '-'))}/", None)
        return self._page("compare/", (query or Query()).but(v=references))

    def log(self, query: Query | None = None) -> str:
        """Return the address of the log, of all artifacts or of name= in the query."""
        return self._page("log/", query)

    def to(self, path: str, **parameters: str | list[str]) -> str:
        """Return the address of another path below the first page, such as "actions/delete"."""
        text = f"?{urlencode(parameters, doseq=True)}" if parameters else ""
        return f"{self._root}{path}{text}"

    def action(self, verb: str, pairs: Sequence[tuple[str, str]]) -> str:
        """Return the address of an action; to() is for parameters that are written in code."""
        return f"{self._root}actions/{verb}{Query(pairs)}"

    def asset(self, file: str) -> str:
        """Return the address of a style sheet or script."""
        return f"{self._root}{ASSETS}/{file}"

    @property
    def _root(self) -> str:
        return "../" * self.depth or "./"

    def _page(self, path: str, query: Query | None) -> str:
        if self.in_files:
            return f"{self._root}{path}index.html"
        return f"{self._root}{path}{query or ''}"

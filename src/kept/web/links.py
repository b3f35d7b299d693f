"""The addresses of pages, on a server and in exported files.

Each address is relative to the page that has it. So the same pages work behind a proxy, below any
folder of a web server, and from a disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlencode

from kept.web.query import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

ASSETS = "static"


@dataclass(frozen=True)
class Links:
    """Addresses for a page that lies depth folders below the first one."""

    depth: int = 0
    in_files: bool = False  # exported: files have no queries, and each folder needs its index.html
    folders: frozenset[str] = frozenset()  # that an export has; other links lead to the one above
    partial: frozenset[str] = frozenset()  # artifacts of which some versions have no page

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
            return self._page(_compared(references), None)
        return self._page("compare/", (query or Query()).but(v=references))

    def offers(self, references: list[str]) -> bool:
        """Return whether these versions can be compared: an export has only some comparisons."""
        return not self.in_files or _compared(references) in self.folders

    def opens(self, name: str) -> bool:
        """Return whether each version of an artifact has a page."""
        return name not in self.partial

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
            while path and unquote(path) not in self.folders:
                path = path.removesuffix("/").rpartition("/")[0]
                path += "/" if path else ""
            return f"{self._root}{path}index.html"
        return f"{self._root}{path}{query or ''}"


def _compared(references: list[str]) -> str:
    """Return the folder of an exported comparison of versions of one artifact."""
    names = {reference.partition(":")[0] for reference in references}
    versions = "..".join(reference.partition(":")[2] for reference in references)
    return f"compare/{names.pop()}/{versions}/" if len(names) == 1 else ""

"""A page as a value, and its HTML."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kept.web.filters import FILTERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jinja2 import Environment

    from kept.web.links import Links
    from kept.web.query import Query
    from kept.web.verbs.plan import Done


@dataclass(frozen=True)
class Page:
    """What a page shows: a template, and its values."""

    template: str  # a file of templates/
    title: str  # of the browser's tab
    values: dict[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True)
class Download:
    """A file that a page offers, such as a table or a picture."""

    name: str
    type: str  # of its content, as HTTP names it
    content: bytes


@dataclass(frozen=True)
class Stream:
    """A file of a version, which can be larger than the memory."""

    name: str
    size: int
    parts: Iterator[bytes]


@dataclass(frozen=True)
class Redirect:
    """Another address, relative to the first page, that has the answer."""

    path: str  # "compare/"
    query: Query


@dataclass(frozen=True)
class Frame:
    """What all pages of a server or an export share."""

    store: str  # its location
    read_only: bool = False  # no buttons that change the store
    is_live: bool = True  # the server sends events


@functools.cache
def environment() -> Environment:
    """Return the templates; each value is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("kept.web"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters |= FILTERS
    return made


def render(page: Page, frame: Frame, links: Links, query: Query, note: Done | None = None) -> str:
    """Return the HTML of a page; note is what an action has done just now."""
    template = environment().get_template(page.template)
    own = {"title": page.title, "frame": frame, "links": links, "query": query, "note": note}
    return template.render(page.values | own)

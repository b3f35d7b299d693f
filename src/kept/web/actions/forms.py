"""Reads the form of an action, and the address to return to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from kept.web.query import Query

if TYPE_CHECKING:
    from starlette.requests import Request

MOST_PAIRS = 2000
_MOST_BYTES = 4_000_000
_FORM = "application/x-www-form-urlencoded"
# A page below the first one. It is put after "../", so it is an address of this server.
_BACK = re.compile(
    r"(?:(?:artifacts|compare|log)/[\w./~%+-]*)?(?:\?[\w./~%+=&:@,;*'()!$-]*)?", re.ASCII
)


async def read_form(request: Request) -> Query:
    """Return the form of a request; raises HTTPException if it is too large, or no form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise HTTPException(415, f"A form is sent as {_FORM}. Received: {kind[:100]!r}")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            raise HTTPException(413, f"The form has more than {_MOST_BYTES:,} bytes.")
    # Browsers send a line's end as two characters.
    return parse(body.decode("ascii", "replace").replace("%0D%0A", "%0A"))


def parse(text: str) -> Query:
    """Return the parameters of an action; raises HTTPException for more than it takes."""
    if text.count("&") >= MOST_PAIRS:
        raise HTTPException(413, f"An action has at most {MOST_PAIRS} parameters. Select less.")
    return Query.parse(text, most=MOST_PAIRS)


def checked_back(text: str) -> str | None:
    """Return an address below the first page, None if the text is no such address."""
    is_fine = _BACK.fullmatch(text) and ".." not in text and "//" not in text.partition("?")[0]
    return text if is_fine and len(text) < 4000 else None


def back_of(request: Request, form: Query) -> str | None:
    """Return where the person came from: the parameter back, or else the page before."""
    if "back" in form:
        return checked_back(form.get("back"))
    host = request.headers.get("host", "")
    scheme, _, rest = request.headers.get("referer", "").partition("://")
    netloc, _, place = rest.partition("/")
    is_own = scheme in ("http", "https") and host != "" and netloc == host
    return checked_back(place) if is_own else None

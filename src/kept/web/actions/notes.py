"""Notes that a page shows once, after an action: what was done, and how to undo it.

The server holds them. The browser has only a cookie with a random name for its note.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from kept.web.verbs.plan import Done

_MOST = 100
_COOKIE = "kept-note"


class Notes:
    """The notes that no page has shown yet."""

    def __init__(self) -> None:
        self._notes: OrderedDict[str, Done] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, note: Done) -> str:
        """Hold a note; return its key."""
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._notes[key] = note
            while len(self._notes) > _MOST:
                self._notes.popitem(last=False)
        return key

    def take(self, request: Request) -> Done | None:
        """Return the note for a page that a person opens, once.

        A script that fetches the page, as for live updates, does not take it.
        """
        is_opened = request.headers.get("sec-fetch-mode", "navigate") == "navigate"
        key = request.cookies.get(_COOKIE)
        if key is None or request.method != "GET" or not is_opened:
            return None
        with self._lock:
            return self._notes.pop(key, None)


def send_note(response: Response, key: str) -> None:
    """Let the next page show a note."""
    response.set_cookie(_COOKIE, key, max_age=600, httponly=True, samesite="strict")

"""Posts events to a server, in the form of Standard Webhooks (standardwebhooks.com)."""

from __future__ import annotations

import time
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import kept
from kept.errors import InvalidInput
from kept.watch.events import body_of
from kept.watch.secrets import signatures
from kept.watch.target import Outcome, Result

if TYPE_CHECKING:
    from kept.watch.events import Happening

_RETRIED = {408, 425, 429, *range(500, 600)}  # the server may answer otherwise later
_LONGEST_AFTER = 3600.0  # seconds of Retry-After that are respected
_SHOWN = 200  # bytes of an answer


class Webhook:
    """A URL that takes events by POST."""

    kind = "webhook"
    attempts: int | None = None

    def __init__(
        self, url: str, keys: list[bytes], place: tuple[str, str], timeout: float | None = None
    ) -> None:
        """Take the URL, keys for signatures, the location and id of the store, and a timeout.

        Raises InvalidInput for what is no URL, and without urllib3.
        """
        self._url, self._keys, self._place = _checked(url), keys, place
        self._client = _client(url)
        self._timeout = timeout or 30.0
        self.label = shown_url(url)

    def send(self, happening: Happening, *, again: bool) -> Outcome:
        """See Target. An answer of 2xx takes the event, and most of 4xx refuse it."""
        from urllib3.exceptions import HTTPError

        body, now = body_of(happening, *self._place), int(time.time())
        headers = {
            "content-type": "application/json",
            "user-agent": f"kept/{kept.__version__}",
            "webhook-id": happening.id,
            "webhook-timestamp": str(now),
        }
        if self._keys:
            headers["webhook-signature"] = signatures(self._keys, happening.id, now, body)
        if again:
            headers["kept-redelivery"] = "true"
        try:
            answer = self._client.request(
                "POST", self._url, body=body, headers=headers, retries=False, redirect=False,
                timeout=self._timeout, preload_content=False,
            )  # fmt: skip
        except (HTTPError, OSError) as error:
            return Outcome(Result.FAILED, f"{self.label}: {_reason(error, self._url)}")
        try:
            return self._outcome(answer)
        finally:
            answer.close()

    def _outcome(self, answer: Any) -> Outcome:
        status = answer.status
        if 200 <= status < 300:
            return Outcome(Result.SENT)
        text = " ".join(_text(answer).split())
        what = f"{self.label} answered {status} {answer.reason or ''}".rstrip()
        what += f": {text}" if text else ""
        if status in _RETRIED:
            return Outcome(Result.FAILED, what, _after(answer))
        return Outcome(Result.REFUSED, what)


def shown_url(url: str) -> str:
    """Return a URL for messages, without what can be a secret: its path, query and user."""
    parts = urlsplit(url)
    more = "/…" if parts.path.strip("/") or parts.query else ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{more}"


def _checked(url: str) -> str:
    """Return a URL of a webhook; raises InvalidInput, which does not repeat it."""
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or not url.isprintable() or " " in url:
        raise InvalidInput("A webhook is a URL that begins with https:// or http://.")
    return url


def _client(url: str) -> Any:
    """Return what sends to a URL, through the proxy of the environment if there is one."""
    try:
        import urllib3
    except ImportError:
        raise InvalidInput("Webhooks need urllib3. Install it: pip install 'kept[watch]'") from None
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy)
    return urllib3.PoolManager()


def _after(answer: Any) -> float | None:
    """Return the seconds of the header Retry-After, if it has any that can be read."""
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    try:
        seconds = Retry().get_retry_after(answer)
    except InvalidHeader:
        return None
    return None if seconds is None else min(max(float(seconds), 0.0), _LONGEST_AFTER)


def _text(answer: Any) -> str:
    from urllib3.exceptions import HTTPError

    try:
        return bytes(answer.read(_SHOWN)).decode(errors="replace")
    except (HTTPError, OSError):
        return ""


def _reason(error: Exception, url: str) -> str:
    """Return why a request failed, without the URL, whose path can be a secret."""
    reason = str(error).rpartition("): ")[2]  # after urllib3's name of its connection
    parts = urlsplit(url)
    for secret in filter(None, (url, parts.path.strip("/"), parts.query, parts.password)):
        reason = reason.replace(secret, "…")
    return reason or type(error).__name__

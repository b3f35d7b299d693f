"""Posts events to a server, in the form of Standard Webhooks (standardwebhooks.com)."""

from __future__ import annotations

import base64
import contextlib
import threading
import time
import urllib.request
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

import kept
from kept.errors import InvalidInput
from kept.watch.events import body_of
from kept.watch.secrets import signatures
from kept.watch.target import Outcome, Result, Stop

if TYPE_CHECKING:
    from kept.watch.events import Happening

# The server may answer otherwise later. 407 is an answer of the proxy; the server knows nothing.
_RETRIED = {407, 408, 425, 429, *range(500, 600)}
_TIMEOUT = 30.0  # seconds for all of a delivery
_PATIENCE = 5.0  # seconds that a delivery has once the watcher has to end
_ROUND = 0.05  # seconds between two looks at a delivery
_LONGEST_AFTER = 3600.0  # seconds of Retry-After that are respected
_SHOWN = 200  # bytes of an answer


class Webhook:
    """A URL that takes events by POST."""

    kind = "webhook"
    attempts: int | None = None

    def __init__(
        self,
        url: str,
        keys: list[bytes],
        place: tuple[str, str],
        timeout: float | None = None,
        stop: Stop | None = None,
    ) -> None:
        """Take the URL, keys for signatures, the location and id of the store, and a timeout.

        The timeout is that of a whole delivery in seconds, however slowly the server answers.

        Raises InvalidInput for what is no URL, and without urllib3.
        """
        self._parts = _checked(url)
        self._secret_url, self._keys, self._place = url, keys, place
        self._client = _client(self._parts)
        self._timeout, self._stop = timeout or _TIMEOUT, stop or Stop()
        self.label = shown_url(url)

    def send(self, happening: Happening, *, again: bool) -> Outcome:
        """See Target. An answer of 2xx takes the event, and most of 4xx refuse it."""
        body, now = body_of(happening, *self._place), int(time.time())
        headers = {
            "content-type": "application/json",
            "user-agent": f"kept/{kept.__version__}",
            "webhook-id": happening.id,
            "webhook-timestamp": str(now),
            **_login(self._parts, "authorization"),
        }
        if self._keys:
            headers["webhook-signature"] = signatures(self._keys, happening.id, now, body)
        if again:
            headers["kept-redelivery"] = "true"
        return self._limited(body, headers)

    def _limited(self, body: bytes, headers: dict[str, str]) -> Outcome:
        """Post on a thread, and leave it behind if it takes too long.

        A timeout of sockets counts from each byte on, so a server that sends one now and then is
        never late. The thread ends with its connection, at the latest with the process.
        """
        answer: Future[Outcome] = Future()

        def post() -> None:
            try:
                answer.set_result(self._post(body, headers))
            except Exception as error:  # noqa: BLE001 - the caller gets it
                answer.set_exception(error)

        threading.Thread(target=post, name="kept-webhook", daemon=True).start()
        end = time.monotonic() + self._timeout
        is_stopped = False
        while time.monotonic() < end:
            if self._stop.is_set and not is_stopped:
                is_stopped, end = True, min(end, time.monotonic() + _PATIENCE)
            with contextlib.suppress(TimeoutError):
                return answer.result(_ROUND)
        self._client = _client(self._parts)
        if is_stopped:
            return Outcome(Result.STOPPED)
        return Outcome(Result.FAILED, f"{self.label}: no answer in {self._timeout:g} s")

    def _post(self, body: bytes, headers: dict[str, str]) -> Outcome:
        from urllib3.exceptions import HTTPError

        netloc = self._parts.netloc.rpartition("@")[2]
        try:
            answer = self._client.request(
                "POST", self._parts._replace(netloc=netloc).geturl(), body=body, headers=headers,
                retries=False, redirect=False, timeout=self._timeout, preload_content=False,
            )  # fmt: skip
        except (HTTPError, OSError, ValueError) as error:
            return Outcome(Result.FAILED, f"{self.label}: {_reason(error, self._secret_url)}")
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


def _checked(url: str) -> SplitResult:
    """Return the parts of a URL of a webhook; raises InvalidInput, which does not repeat it."""
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or not url.isprintable() or " " in url:
        raise InvalidInput("A webhook is a URL that begins with https:// or http://.")
    return parts


def _client(parts: SplitResult) -> Any:
    """Return what sends to a URL, through the proxy of the environment if there is one."""
    try:
        import urllib3
    except ImportError:
        raise InvalidInput("Webhooks need urllib3. Install it: pip install 'kept[watch]'") from None
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or urllib.request.proxy_bypass(parts.hostname or ""):
        return urllib3.PoolManager()
    place = proxy if "://" in proxy else f"http://{proxy}"
    try:
        known = _checked(place)
        return urllib3.ProxyManager(place, proxy_headers=_login(known, "proxy-authorization"))
    except (ValueError, urllib3.exceptions.HTTPError):
        raise InvalidInput(
            f"The proxy in ${parts.scheme}_proxy is none that kept can use: its URL begins with "
            "http:// or https://. Unset it, or name the host of the webhook in $no_proxy."
        ) from None


def _login(parts: SplitResult, header: str) -> dict[str, str]:
    """Return the header for the user and password in a URL, none if it has no user."""
    if parts.username is None:
        return {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {header: f"Basic {base64.b64encode(login.encode()).decode()}"}


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

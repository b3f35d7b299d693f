"""As much of Google Cloud Storage's XML API as obstore uses for single objects, in memory.

It is no emulator: it was written from the API's documentation, and no bucket of Google's was ever
compared with it. What it shows is which requests kept's mapping to GCS makes.
"""

from __future__ import annotations

import http.server
import itertools
import threading
from datetime import UTC, datetime
from email.utils import formatdate
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.servers.loopback import Loopback

PAGE = 50  # keys in one answer to a listing, so that tests need more than one


class FakeGcs(Loopback):
    """Set `token` to the bearer token that is asked for, None for any.

    `requests` are (method, path, headers).
    """

    def __init__(self, token: str | None) -> None:
        super().__init__(_Handler)
        self.token = token
        self.values: dict[str, tuple[int, bytes, str]] = {}  # name -> generation, value, time
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.lock = threading.Lock()
        self.generations = itertools.count(1)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or an answer with a body takes 40 ms

    def log_message(self, *_):
        pass

    def _any(self):
        fake, url = self.server.owner, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        name = unquote(url.path.lstrip("/"))
        headers = {key.lower(): value for key, value in self.headers.items()}
        with fake.lock:
            fake.requests.append((self.command, name, headers))
            if fake.token and headers.get("authorization") != f"Bearer {fake.token}":
                return self._error(401, "AuthenticationRequired")
            if not name.startswith("bucket"):
                return self._error(404, "NoSuchBucket")
            if self.command == "GET" and name == "bucket":
                return self._list(fake, parse_qs(url.query, keep_blank_values=True))
            return getattr(self, f"_{self.command.lower()}")(fake, name, headers, body)

    do_GET = do_PUT = do_DELETE = do_HEAD = do_POST = _any  # noqa: N815

    def _put(self, fake, name, headers, body):
        if headers.get("x-goog-if-generation-match") == "0" and name in fake.values:
            return self._error(412, "PreconditionFailed")
        if source := headers.get("x-goog-copy-source"):
            if (source := unquote(source)) not in fake.values:
                return self._error(404, "NoSuchKey")
            body = fake.values[source][1]
        generation = next(fake.generations)
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fake.values[name] = generation, body, now
        return self._answer(200, b"", {"ETag": f'"{generation}"', "x-goog-generation": generation})

    def _get(self, fake, name, headers, _):
        if name not in fake.values:
            return self._error(404, "NoSuchKey")
        generation, value, _ = fake.values[name]
        more = {
            "ETag": f'"{generation}"', "x-goog-generation": generation,
            "Last-Modified": formatdate(usegmt=True),
        }  # fmt: skip
        if "range" not in headers:
            return self._answer(200, value, more)
        first, _, last = headers["range"].removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last or len(value)), len(value) - 1) + 1
        if start >= len(value):
            return self._error(416, "InvalidRange")
        more["Content-Range"] = f"bytes {start}-{stop - 1}/{len(value)}"
        return self._answer(206, value[start:stop], more)

    _head = _get

    def _delete(self, fake, name, *_):
        if fake.values.pop(name, None) is None:
            return self._error(404, "NoSuchKey")
        return self._answer(204, b"", {})

    def _list(self, fake, query):
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        after = query.get("continuation-token", query.get("start-after", [""]))[0]
        contents, prefixes = {}, set()
        for name, (generation, value, time) in sorted(fake.values.items()):
            key = name.removeprefix("bucket/")
            if not key.startswith(prefix) or key <= after:
                continue
            inner = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if inner[1]:
                prefixes.add(prefix + inner[0] + delimiter)
            else:
                contents[key] = (generation, len(value), time)
        page = list(contents.items())[:PAGE]
        is_cut = len(page) < len(contents)
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size><ETag>{generation}</ETag>"
            f"<LastModified>{time}</LastModified></Contents>"
            for key, (generation, size, time) in page
        )
        items += "".join(
            f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
            for name in sorted(prefixes)
        )
        more = f"<NextContinuationToken>{page[-1][0]}</NextContinuationToken>" if is_cut else ""
        text = f"<IsTruncated>{str(is_cut).lower()}</IsTruncated>{more}{items}"
        return self._answer(200, f"<ListBucketResult>{text}</ListBucketResult>".encode(), {})

    def _error(self, status, code):
        return self._answer(status, f"<Error><Code>{code}</Code></Error>".encode(), {})

    def _answer(self, status, data, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(data)

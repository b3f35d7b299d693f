"""A server of webhooks on the loopback, which notes what it gets and answers as a test asks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
from typing import NamedTuple

from tests.servers.loopback import Loopback

SECRET = "whsec_" + base64.b64encode(b"a fake secret of the tests").decode()


class Received(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self):
        return json.loads(self.body)

    @property
    def id(self):
        return self.headers["webhook-id"]

    @property
    def is_marked(self):
        return self.headers.get("kept-redelivery") == "true"

    @property
    def text(self):
        data = self.event["data"]
        return f"{data['reference']} {self.event['type']}"

    def is_signed(self, key=b"a fake secret of the tests"):
        """As the specification of Standard Webhooks says, written without kept's code."""
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return f"v1,{mac}" in self.headers.get("webhook-signature", "").split(" ")


class Receiver(Loopback):
    """Set `answer` to a function of the request that returns a status, and headers if any."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.received: list[Received] = []
        self.answer = lambda request: 200
        self.changed = threading.Condition()

    def wait_for(self, number: int, seconds: float = 60.0) -> None:
        """Wait until a number of requests have arrived."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.received) >= number, seconds), (
                f"{len(self.received)} of {number} requests"
            )

    @property
    def texts(self) -> list[str]:
        return [request.text for request in self.received]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {key.lower(): value for key, value in self.headers.items()}
        owner = self.server.owner
        request = Received(self.path, headers, body)
        with owner.changed:
            owner.received.append(request)
            owner.changed.notify_all()
        answer = owner.answer(request)
        status, more = answer if isinstance(answer, tuple) else (answer, {})
        if status is None:  # break off without an answer
            self.close_connection = True
            return
        text = b"as the test asks"
        self.send_response(status)
        for key, value in more.items():
            self.send_header(key, value)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass

"""A web server that receives events: it checks each signature, and notes each request in a file.

While a file `down` lies beside its notes, it answers with 503. `python receiver.py FOLDER SECRET`
prints its port.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER, SECRET = Path(sys.argv[1]), sys.argv[2]


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        is_down = (FOLDER / "down").exists()
        note = {
            "id": self.headers["webhook-id"],
            "redelivery": self.headers.get("kept-redelivery"),
            "signed": self._is_signed(body),
            "accepted": not is_down,
            "event": json.loads(body),
        }
        with (FOLDER / "requests.jsonl").open("a") as file:
            file.write(json.dumps(note) + "\n")
        self.send_response(503 if is_down else 204)
        self.end_headers()

    def _is_signed(self, body: bytes) -> bool:
        """Check the signature as Standard Webhooks describes it."""
        signed = b".".join(
            [self.headers["webhook-id"].encode(), self.headers["webhook-timestamp"].encode(), body]
        )
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return f"v1,{expected}" in self.headers["webhook-signature"].split()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
    print(server.server_port, flush=True)
    server.serve_forever()

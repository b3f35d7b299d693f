"""moto as a server of S3 alone.

moto's own application asks before each request which of 170 services is meant, by a look at the
disk; that took more than half of the time of a request.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading

os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"  # read by moto's import

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer, create_backend_app


def start():
    """Start a server in a thread of this process; return it and its endpoint."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    server._server.app = atomic(create_backend_app("s3"))
    host, port = server.get_host_and_port()
    return server, f"http://{host}:{port}"


def atomic(app):
    """Have moto's conditional writes come one by one, as S3 promises of them.

    moto looks whether a key is there and then writes, so of two writers at once both may win (seen
    once, of sixteen on a busy machine: it answered 200 twice to the same record).
    """
    lock = threading.Lock()

    def one_by_one(environ, start_response):
        conditional = "HTTP_IF_NONE_MATCH" in environ and environ["REQUEST_METHOD"] != "GET"
        with lock if conditional else contextlib.nullcontext():
            return app(environ, start_response)

    return one_by_one


def backend():
    """Return moto's own table of buckets, for what would take many requests."""
    return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]


def fill(location, values):
    """Put objects into a bucket of this process's server, without requests."""
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    for key, value in values.items():
        backend().put_object(bucket, f"{prefix}/{key}", bytes(value))

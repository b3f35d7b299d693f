"""moto in a process of its own: `python -m tests.servers.moto_process` prints its endpoint.

It ends with its standard input. Conditional writes come one by one. `/bulk/BUCKET/PREFIX` reads
(GET), adds (PUT) or replaces (POST) all objects below a prefix, as a pickled dict.
"""

from __future__ import annotations

import pickle
import sys

from tests.servers import s3


def with_bulk(app):
    """Answer requests for many objects at once; pass others on."""

    def answer(environ, start_response):
        path = environ["PATH_INFO"]
        if not path.startswith("/bulk/"):
            return app(environ, start_response)
        _, _, bucket, prefix = path.split("/", 3)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        data = bulk(environ["REQUEST_METHOD"], bucket, f"{prefix}/", body)
        start_response("200 OK", [("Content-Length", str(len(data)))])
        return [data]

    return answer


def bulk(method, bucket, prefix, body):
    backend = s3.backend()
    keys = backend.buckets[bucket].keys
    found = [key for key in list(keys) if key.startswith(prefix)]
    if method == "GET":
        return pickle.dumps({key.removeprefix(prefix): keys[key].value for key in found})
    if method == "POST":
        for key in found:
            backend.delete_object(bucket, key)
    for key, value in pickle.loads(body).items():
        backend.put_object(bucket, prefix + key, value)
    return b""


def main():
    server, endpoint = s3.start()
    server._server.app = with_bulk(server._server.app)
    print(endpoint, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

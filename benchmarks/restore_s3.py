"""Restoring from object storage against plain parallel obstore reads of the same blobs.

The server is moto on the loopback, in a process of its own that shares the machine's processors.
The plain reads take whole objects, as many at once as kept does, and keep the bytes; they check
nothing and write nothing. Restoring checks every byte and writes the files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Times, in_turns, medians, timed, workspace
from benchmarks.rows import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 0.7
_LOCATION = "s3://bench/p"


def measure(*, quick: bool) -> Outcome:
    """Read and restore in turns; the ratio is that of the throughputs."""
    size, rounds = (16, 2) if quick else (256, 9)
    with workspace() as folder, _server():
        times = _times(folder, size * 1024 * 1024, rounds)
    found = medians(times)
    outcome = Outcome(seconds=found, raw=times)
    what = f"throughput of restoring {size} MiB / of plain parallel reads"
    outcome.add(what, found["plain reads"], found["restore"], LIMIT, least=True)
    return outcome


def _times(folder: str, size: int, rounds: int) -> Times:
    import kept

    path, out = os.path.join(folder, "model.bin"), os.path.join(folder, "out")
    with open(path, "wb") as file:
        file.write(os.urandom(size))
    store = kept.open_store(_LOCATION)
    store.log_artifact("m", path)
    keys = list(store.bucket.keys("blobs/"))
    version = kept.open_store(_LOCATION).version("m")
    works = {
        "plain reads": lambda: timed(lambda: _read_plainly(keys)),
        "restore": lambda: timed(lambda: version.download(out)),
    }
    return in_turns(works, rounds, lambda: shutil.rmtree(out, ignore_errors=True))


def _read_plainly(keys: list[str]) -> None:
    import obstore
    from obstore.store import from_url

    from kept.store.content.restore import READERS

    store = from_url(_LOCATION, client_options={"allow_http": True})
    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(lambda key: obstore.get(store, key).bytes(), keys))


@contextlib.contextmanager
def _server() -> Iterator[None]:
    """Run an S3 server with an empty bucket; the environment names it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, **quiet)
    try:
        _make_bucket(f"http://127.0.0.1:{port}")
        yield
    finally:
        server.kill()
        server.wait()


def _make_bucket(endpoint: str) -> None:
    os.environ |= {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    request = urllib.request.Request(f"{endpoint}/bench", method="PUT")
    for _ in range(300):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(request)
            return
        time.sleep(0.1)
    raise TimeoutError("the S3 server does not answer")

"""Restoring from object storage against plain parallel obstore reads of the same blobs.

    python -m benchmarks.restore_s3

Prints the ratio of throughputs, best of five each in turns, on moto in a process of its own. The
plain reads check nothing and write nothing; restoring checks every byte and writes the files.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_SIZE, _ROUNDS = 256 * 1024 * 1024, 5


def main() -> None:
    port = _free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(_measure(f"http://127.0.0.1:{port}", Path(folder))))
    finally:
        server.kill()
        server.wait()


def _measure(endpoint: str, folder: Path) -> dict[str, float]:
    _make_bucket(endpoint)
    import kept

    (folder / "model.bin").write_bytes(os.urandom(_SIZE))
    store = kept.open_store("s3://bench/p")
    store.log_artifact("m", folder / "model.bin")
    version = kept.open_store("s3://bench/p")["m"]
    keys = list(store.bucket.keys("blobs/"))
    plain, restored = [], []
    for n in range(_ROUNDS):
        plain.append(_seconds(lambda: _read_plainly(keys)))
        restored.append(_seconds(lambda n=n: version.download(folder / str(n))))
    return {
        "plain_MB_s": round(_SIZE / min(plain) / 1e6),
        "restore_MB_s": round(_SIZE / min(restored) / 1e6),
        "ratio": round(min(plain) / min(restored), 2),
    }


def _read_plainly(keys: list[str]) -> None:
    import obstore
    from obstore.store import from_url

    store = from_url("s3://bench/p", client_options={"allow_http": True})
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda key: len(obstore.get(store, key).bytes()), keys):
            pass


def _make_bucket(endpoint: str) -> None:
    os.environ |= {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    request = urllib.request.Request(f"{endpoint}/bench", method="PUT")
    for _ in range(100):
        try:
            urllib.request.urlopen(request)
        except OSError:
            time.sleep(0.1)
        else:
            return


def _seconds(work) -> float:  # noqa: ANN001 - any callable
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    main()

"""Servers that the tests start on the loopback, and end by their process ids."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest

NODE = Path(__file__).parents[2] / ".servers" / "node_modules" / ".bin"
_CONF = """[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]
keyring = {root}/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = 1
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = {root}/run
crash dir = {root}/run
admin socket = {root}/run/$name.asok
log file = {root}/$name.log
osd memory target = 1073741824
[mon.a]
mon data = {root}/mon
[osd.0]
osd data = {root}/osd
osd objectstore = bluestore
bluestore block size = 4294967296
bluestore block create = true
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw data = {root}/rgw
"""


def needed(program: str) -> str:
    """Return where a program is; skip the test with what to do if it is nowhere."""
    found = shutil.which(program, path=f"{NODE}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{program} is not installed: run make test-integration")
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_it_answers(url: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=2)
        except urllib.error.HTTPError:
            return  # an answer
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"{url} does not answer")


@contextlib.contextmanager
def running(command: list[str], url: str, log: Path, **environment: str):
    """Run a server until the block ends."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env=os.environ | environment, cwd=log.parent
        )
    try:
        wait_until_it_answers(url)
        yield process
    finally:
        process.kill()
        process.wait()


class Ceph:
    """A Ceph cluster of one monitor, one disk and one S3 gateway, in a folder."""

    KEY_ID, SECRET = "test", "testtest"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._processes: dict[str, subprocess.Popen] = {}

    def make(self) -> None:
        """Make the cluster and its user, and start it."""
        for folder in ("mon", "osd", "run", "rgw"):
            (self.root / folder).mkdir()
        v1, v2, fsid = free_port(), free_port(), str(uuid.uuid4())
        self._conf = self.root / "ceph.conf"
        self._conf.write_text(_CONF.format(root=self.root, port=self.port, v1=v1, v2=v2, fsid=fsid))
        self._make_keys()
        addresses = f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]"
        monmap = str(self.root / "monmap")
        _run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", addresses, monmap)
        self._ceph("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", self._keyring)
        self._start("ceph-mon", "-i", "a")
        osd = str(uuid.uuid4())
        self._ceph("ceph", "osd", "new", osd, "0")
        self._ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._ceph("ceph", "osd", "crush", "add", "osd.0", "1.0", "host=localhost", "root=default")
        self._start_the_rest()
        self._ceph(
            "radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=test",
            "--display-name=t", f"--access-key={self.KEY_ID}", f"--secret={self.SECRET}",
        )  # fmt: skip

    def kill(self) -> None:
        """kill -9 of the disk's and the gateway's process."""
        for name in ("radosgw", "ceph-osd"):
            self._end(name)

    def restart(self) -> None:
        self._start_the_rest()

    def end(self) -> None:
        for name in list(self._processes):
            self._end(name)

    @property
    def _keyring(self) -> str:
        return str(self.root / "keyring")

    def _make_keys(self) -> None:
        everything = ["--cap", "osd", "allow *", "--cap", "mgr", "allow *"]
        tool = ["ceph-authtool", self._keyring, "--gen-key", "-n"]
        _run("ceph-authtool", "--create-keyring", self._keyring, "--gen-key", "-n", "mon.",
             "--cap", "mon", "allow *")  # fmt: skip
        _run(*tool, "client.admin", "--cap", "mon", "allow *", *everything)
        _run(*tool, "client.rgw", "--cap", "mon", "allow *", *everything)
        _run(*tool, "osd.0", "--cap", "mon", "allow profile osd", *everything)

    def _start_the_rest(self) -> None:
        self._start("ceph-osd", "-i", "0")
        self._start("radosgw", "-n", "client.rgw")
        wait_until_it_answers(self.endpoint)

    def _start(self, program: str, *args: str) -> None:
        with (self.root / f"{program}.out").open("ab") as out:
            self._processes[program] = subprocess.Popen(
                [program, "-c", str(self._conf), *args, "-f"], stdout=out, stderr=out
            )

    def _end(self, name: str) -> None:
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def _ceph(self, program: str, *args: str) -> None:
        _run(program, "-c", str(self._conf), *args)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, timeout=90, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr.decode()}"

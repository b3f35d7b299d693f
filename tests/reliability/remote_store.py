"""Stores in a simulated S3 for the suite `remote`: made once, uploaded for each case."""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import shutil
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from unittest import mock

import boto3

import kept
from kept.bucket.local import LocalBucket
from kept.bucket.memory import MemoryBucket
from kept.errors import KeptError
from kept.store.log.fence import encode_list
from kept.store.log.history import version_records
from kept.store.receipts import Receipts
from kept.sync.mirror.replicate import Sync
from tests.helpers import tree, write

if TYPE_CHECKING:
    from pathlib import Path

BUCKET = "reliability"
Tree = dict[str, bytes]


class Server:
    """An S3 server while it is entered: moto, or the one of AWS_ENDPOINT_URL with is_given."""

    def __init__(self, *, is_given: bool) -> None:
        self.process: subprocess.Popen[str] | None = None
        if is_given:
            self.endpoint = os.environ["AWS_ENDPOINT_URL"]
            return
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.moto_process"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdout
        self.endpoint = self.process.stdout.readline().strip()
        os.environ |= {"AWS_ACCESS_KEY_ID": "fake", "AWS_SECRET_ACCESS_KEY": "fakefake",
                       "AWS_REGION": "us-east-1"}  # fmt: skip

    def __enter__(self) -> Self:
        os.environ["AWS_DEFAULT_REGION"] = os.environ.get("AWS_REGION", "us-east-1")
        os.environ["AWS_ENDPOINT_URL"] = self.endpoint
        boto3.client("s3", endpoint_url=self.endpoint).create_bucket(Bucket=BUCKET)
        Raw.kind = Raw if self.process is None else MotoRaw
        return self

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


class Raw:
    """The objects below a prefix, without kept and without the proxy."""

    kind: type[Raw]

    def __init__(self, endpoint: str, prefix: str) -> None:
        self.endpoint, self.prefix = endpoint, prefix

    @functools.cached_property
    def client(self) -> Any:
        return boto3.client("s3", endpoint_url=self.endpoint)

    def put(self, values: Tree) -> None:
        def one(item: tuple[str, bytes]) -> None:
            self.client.put_object(Bucket=BUCKET, Key=f"{self.prefix}/{item[0]}", Body=item[1])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(one, values.items()))

    def get(self) -> Tree:
        def one(key: str) -> bytes:
            return bytes(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=f"{self.prefix}/"
        )
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        with ThreadPoolExecutor(4) as pool:
            values = list(pool.map(one, keys))
        short = [key.removeprefix(f"{self.prefix}/") for key in keys]
        return dict(zip(short, values, strict=True))

    def replace(self, values: Tree) -> None:
        """Remove every object, and store these."""
        for key in self.get():
            self.client.delete_object(Bucket=BUCKET, Key=f"{self.prefix}/{key}")
        self.put(values)


class MotoRaw(Raw):
    """The same by one request, which moto_process answers."""

    def _ask(self, method: str, body: bytes = b"") -> bytes:
        url = f"{self.endpoint}/bulk/{BUCKET}/{self.prefix}"
        request = urllib.request.Request(url, body, method=method)
        with urllib.request.urlopen(request) as answer:
            return bytes(answer.read())

    def put(self, values: Tree) -> None:
        self._ask("PUT", pickle.dumps(values))

    def get(self) -> Tree:
        found: Tree = pickle.loads(self._ask("GET"))
        return found

    def replace(self, values: Tree) -> None:
        self._ask("POST", pickle.dumps(values))


class State(NamedTuple):
    """What a store holds, as a healthy reader sees it."""

    versions: dict[str, Tree]  # reference -> files, in the order of the log
    aliases: dict[str, str]
    logged: int  # records of versions, the deleted ones too
    problems: list[str]

    def named(self, name: str) -> list[Tree]:
        return [files for ref, files in self.versions.items() if ref.startswith(f"{name}:")]


def state_of(folder: Path) -> State:
    """Read a store in a folder."""
    state = State({}, {}, 0, [])
    out = folder.parent / "read"
    try:
        store = kept.open_store(folder)
    except KeptError as error:
        state.problems.append(f"it cannot be opened: {error}")
        return state
    if not store.exists:
        return state
    state.problems.extend(str(problem) for problem in store.verify().problems)
    logged = 0
    for name in store.logs.names():
        items = store.log(name).view().items()
        logged += sum(1 for _ in version_records(items))
        for version in store.versions(name):
            try:
                state.versions[version.reference] = tree(version.download(out))
            except (KeptError, OSError) as error:
                state.problems.append(f"{version.reference}: {error}")
            shutil.rmtree(out, ignore_errors=True)
            state.aliases.update({f"{name}:{a}": version.reference for a in version.aliases})
    return state._replace(logged=logged)


def state_of_objects(values: Tree, folder: Path) -> State:
    """Read a store from its keys and values."""
    shutil.rmtree(folder, ignore_errors=True)
    for key, value in values.items():
        write(folder / key, value)
    return state_of(folder)


def files_of(name: str, n: int) -> Tree:
    """Return the content of a version: one file that all share, and one of its own."""
    return {"base.bin": b"base" * 2000, "own.bin": f"{name} {n} ".encode() * 1400}


def given(folder: Path, files: Tree) -> list[Path]:
    """Write files; return their paths."""
    return [write(folder / name, data) for name, data in files.items()]


class Template:
    """The store, its mirror, and a variant in which a killed gc has condemned a version."""

    def __init__(self, root: Path) -> None:
        self.root = root
        store = self.make(root / "store", 7)
        store.delete("m:v1")
        store.set_alias("m:v0", "old")
        given(root / "g", files_of("m", 7))
        store.log_artifact("m", sorted((root / "g").iterdir()))
        store.bucket.put("gc/20200101T000000Z-abandoned.json",
                         [encode_list([f"blobs/00/{'0' * 64}"])])  # fmt: skip
        self.make(root / "other", 2, "x")
        for name in ("m", "b"):
            Sync(store, kept.open_store(root / "mirror"), name).run()
        doomed = self.make(root / "condemned", 3)
        doomed.delete("m:v1")
        killed = mock.patch.object(LocalBucket, "delete", side_effect=KeyboardInterrupt)
        with killed, contextlib.suppress(KeyboardInterrupt):
            doomed.gc(grace=0)
        self.state = state_of(root / "store")
        assert not self.state.problems

    def make(self, folder: Path, versions: int, name: str = "m") -> kept.Store:
        store = kept.open_store(folder)
        for artifact, count in ((name, versions), ("b", 1)):
            for n in range(count):
                paths = given(folder.parent / "given", files_of(artifact, n))
                aliases = ["best"] if n == 2 else []
                store.log_artifact(artifact, paths, aliases=aliases, metadata={"epoch": n})
        return store

    def values(self, variant: str = "store") -> Tree:
        """Return the keys and values of a store."""
        found = tree(self.root / variant)
        return {key: value for key, value in found.items() if not key.startswith("tmp/")}

    def receipts(self, mirror: Path) -> Tree:
        """Return the receipts of a mirror in a folder."""
        bucket, store = MemoryBucket(), kept.open_store(self.root / "store")
        receipts = Receipts(bucket, str(mirror))
        for name in ("m", "b"):
            receipts.confirm(name, store.log(name).view().head, store.versions(name)[-1].index)
        return {key: bytes(bucket.get(key)) for key in bucket.keys("outbox/")}

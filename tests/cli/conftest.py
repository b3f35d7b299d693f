from __future__ import annotations

import json
import os
import random
import sys
import types
from typing import Any

import pytest
from click.testing import CliRunner, Result

import kept
from kept.cli import common
from kept.cli.main import cli
from tests.helpers import hdf5, write


class Command:
    """Runs `kept` in this process, on the store in the current folder."""

    def __call__(self, *args: str, exit: int = 0, **options: Any) -> Result:
        result = CliRunner().invoke(cli, args, prog_name="kept", **options)
        assert result.exit_code == exit, result.output
        assert exit in (0, 2) or isinstance(result.exception, (SystemExit, type(None)))
        return result

    def json(self, *args: str, exit: int = 0) -> Any:
        return json.loads(self(*args, "--json", exit=exit).stdout)


@pytest.fixture
def run(tmp_path, monkeypatch) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KEPT_STORE", raising=False)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power cut comes in these tests
    return Command()


@pytest.fixture
def store(run) -> kept.Store:
    """Three versions of the artifact mnist, each of one file."""
    store = kept.open_store()
    chance = random.Random(1)
    for epoch in range(3):
        with open("model.keras", "wb") as file:
            file.write(chance.randbytes(1000 + epoch))
        metadata = {"epoch": epoch, "monitor": "val_loss", "value": 0.5 / (epoch + 1)}
        aliases = [f"epoch_{epoch}", *(["best"] if epoch == 1 else [])]
        store.log_artifact("mnist", "model.keras", aliases=aliases, metadata=metadata)
    os.remove("model.keras")
    return store


@pytest.fixture
def damaged(store) -> str:
    """The reference of a version one byte of whose file has changed in the store."""
    version = store.version("mnist:v1")
    [name] = {chunk.blob for file in version.files for chunk in file.chunks}
    path = f"{store.location}/blobs/{name[:2]}/{name}"
    with open(path, "r+b") as file:
        file.seek(-10, os.SEEK_END)
        byte = file.read(1)
        file.seek(-10, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))
    return version.reference


class Terminal:
    """The input of the test, which says that it is a terminal."""

    def __getattr__(self, name):
        return getattr(sys.stdin, name)

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(common, "sys", types.SimpleNamespace(stdin=Terminal()))


@pytest.fixture
def trained(run, tmp_path):
    import numpy as np

    store, random = kept.open_store(), np.random.default_rng(0)
    base = random.normal(0, 0.02, 300_000).astype("f4")
    for n in range(3):
        head = (base[:100_000] + n * 1e-5).astype("f4")
        store.log_artifact("m", write(tmp_path / "m.h5", hdf5({"base": base, "head": head})))
    return store

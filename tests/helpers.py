"""Files that look like what Keras writes, made without Keras, and buckets that misbehave."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import zipfile
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

Arrays = dict[str, np.ndarray]


def arrays(rng: int, **sizes: int) -> Arrays:
    """Random float32 vectors by name, of the given sizes in bytes."""
    random = np.random.default_rng(rng)
    return {
        name.replace("__", "/"): random.random(size // 4, np.float32)
        for name, size in sizes.items()
    }


def hdf5(tensors: Arrays, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, tensor in tensors.items():
            file.create_dataset(f"layers/{name}/vars/0", data=tensor, **options)
    return buffer.getvalue()


def keras(tensors: Arrays, second: int = 0) -> bytes:
    """A .keras file: a zip without compression around an HDF5 file, with a date in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in {
            "metadata.json": b'{"keras_version": "3.15.1", "date_saved": "@%02d"}' % second,
            "config.json": b'{"module": "keras", "class_name": "Sequential"}',
            "model.weights.h5": hdf5(tensors),
        }.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, second)), data)
    return buffer.getvalue()


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path with /."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


class Wrapped:
    """A bucket that passes every call on; subclasses change a few."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Child(subprocess.Popen[str]):
    """A Python process that runs code; its stderr goes to a file."""

    def __init__(self, code: str, *args: object) -> None:
        # Not a pipe: no test reads it while the process runs, and a full one would stop it.
        self.complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 - goes with the object
        super().__init__(
            [sys.executable, "-c", code, *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            text=True,
            env={key: value for key, value in os.environ.items() if not key.startswith("KEPT")},
        )

    def said(self) -> str:
        """Return what it has written to stderr up to now."""
        self.complaints.seek(0)
        return self.complaints.read()

    def line(self) -> str:
        """Return the next line that it prints; one that has ended instead fails the test."""
        found = self.stdout.readline() if self.stdout else ""
        assert found, f"ended with {self.wait()}:\n{self.said()}"
        return found


def start(code: str, *args: object) -> Child:
    """Run Python code in a fresh process, its standard streams piped."""
    return Child(code, *args)


def finish(process: Child) -> list[str]:
    """Wait for a process that has to succeed; return the lines it printed."""
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, f"{out[-2000:]}\n{process.said()}"
    return out.splitlines()

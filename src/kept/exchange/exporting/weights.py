"""Takes the weights out of a checkpoint, without the state of the optimizer and without Keras."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import zipfile
from typing import TYPE_CHECKING

from kept.store.loading.model_file import check_weights

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WEIGHTS = ".weights.h5"
_MEMBER = "model.weights.h5"  # of a .keras file
_OPTIMIZER = "optimizer"  # the group of an HDF5 file in which Keras 3 keeps its state


def can_take(file: Path) -> bool:
    """Return whether a file has the weights in the form of a .weights.h5 file."""
    return file.name.endswith(WEIGHTS) or (file.suffix == ".keras" and zipfile.is_zipfile(file))


def write_weights(file: Path, out: str) -> None:
    """Write the weights in a .keras or .weights.h5 file to a .weights.h5 file.

    Raises InvalidInput for a file that is damaged, or that links to others.
    """
    import h5py

    check_weights(file)
    with (
        _weights_of(file) as path,
        h5py.File(path, "r") as found,
        h5py.File(out, "w") as written,
    ):
        for name in found:
            if name != _OPTIMIZER:
                found.copy(name, written)
        for name, value in found.attrs.items():
            written.attrs[name] = value


@contextlib.contextmanager
def _weights_of(file: Path) -> Iterator[str]:
    """Yield the HDF5 file of a checkpoint; that of a .keras file is a copy."""
    if file.suffix != ".keras":
        yield os.fspath(file)
        return
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        path = os.path.join(folder, _MEMBER)
        with (
            zipfile.ZipFile(file) as archive,
            archive.open(_MEMBER) as member,
            open(path, "wb") as copy,
        ):
            shutil.copyfileobj(member, copy, 2**20)
        yield path

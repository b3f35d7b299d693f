"""How a checkpoint's file appears under its final name: complete, or not at all.

A checkpoint is written beside its place and moved there when it is complete. A write that fails
leaves the file of an earlier checkpoint unchanged.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from kept.bucket.file_io import write_file
from kept.training.save import checkpoint_files
from kept.workspace import workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.content.file_source import MemoryFile
    from kept.training.keras_api.formats import Format


@contextlib.contextmanager
def workspace_beside(path: str, format: Format) -> Iterator[str]:
    """Yield a path to write to, in a new folder beside path.

    Its name is the one that the file has in a version: that of path, as every system can hold it.
    The folder and what remains in it are removed at the end, or by a later process if this one is
    killed.
    """
    folder = checkpoint_files.place_for(path, format)
    os.makedirs(folder, exist_ok=True)
    with workspace(folder) as place:
        yield os.path.join(place, checkpoint_files.stored_name(path))


def bring_to_disk(file: MemoryFile | str, place: str) -> None:
    """Write all bytes of a checkpoint to the disk, durably, at the place in its workspace."""
    if isinstance(file, str):
        checkpoint_files.sync(place)
    elif not os.path.exists(place):
        write_file(place, file.parts)


def publish(file: MemoryFile | str, place: str, path: str) -> None:
    """Move a checkpoint from its place in the workspace to its final path, durably.

    The writer calls this after the commit, because a disk serves earlier writes first.
    """
    bring_to_disk(file, place)
    checkpoint_files.move(place, path)

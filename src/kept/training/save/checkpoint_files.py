"""Checkpoints of several files: a folder (SavedModel), or files with a common prefix.

They appear under their final names as nearly at once as a file system allows. A folder takes two
renames, so a replaced folder is missing for a moment. The index of a TensorFlow checkpoint comes
last, because it makes the other files a checkpoint.
"""

from __future__ import annotations

import glob
import os

from kept.bucket.file_io import sync_file, sync_folder
from kept.errors import InvalidPath
from kept.workspace import workspace

_SIGN = "saved_model.pb"  # the file that makes a folder a SavedModel
_STATE = "checkpoint"  # tf_keras: names the newest TensorFlow checkpoint in a folder


def paths_of(written: str) -> list[str]:
    """Return the files and folders of a checkpoint, as log_artifact takes them."""
    if os.path.isfile(written):
        return [written]
    if os.path.isdir(written):
        return sorted(os.path.join(written, name) for name in os.listdir(written))
    found = sorted(glob.glob(f"{glob.escape(written)}.data-*"))
    state = os.path.join(os.path.dirname(written), _STATE)
    return [*found, f"{written}.index", *([state] if os.path.isfile(state) else [])]


def files_of(written: str) -> dict[str, str]:
    """Return the files of a checkpoint: path in the version -> file on the disk."""
    found = {}
    for path in paths_of(written):
        if os.path.isfile(path):
            found[os.path.basename(path)] = path
        for where, _, names in os.walk(path):
            for name in names:
                file = os.path.join(where, name)
                found[os.path.relpath(file, os.path.dirname(path)).replace(os.sep, "/")] = file
    return found


def own_files_of(path: str) -> dict[str, str]:
    """Return the files of a checkpoint, except the file that checkpoints in one folder share."""
    return {name: file for name, file in files_of(path).items() if name != _STATE}


def exists(path: str) -> bool:
    """Return whether a checkpoint exists under that final name."""
    return os.path.exists(path) or os.path.exists(f"{path}.index")


def remove(path: str) -> None:
    """Remove a checkpoint from its final name, where no half of one is ever visible."""
    if os.path.isfile(path):
        os.unlink(path)
    elif os.path.isdir(path):
        check_replaceable(path)
        with workspace(os.path.dirname(os.path.abspath(path))) as aside:
            os.rename(path, os.path.join(aside, "gone"))
    else:
        for file in sorted(own_files_of(path).values(), reverse=True):  # the index first
            os.unlink(file)


def sync(written: str) -> None:
    """Write a checkpoint to the disk, durably, in place."""
    for file in files_of(written).values():
        sync_file(file)
    if os.path.isdir(written):
        for where, _, _ in os.walk(written):
            sync_folder(where)


def move(written: str, path: str) -> None:
    """Move a checkpoint to its final name; raises InvalidPath for a folder of other files."""
    if os.path.isfile(written):
        os.replace(written, path)
    elif os.path.isdir(written):
        _move_folder(written, path)
    else:
        for piece in paths_of(written):
            ending = piece.removeprefix(written)
            state = os.path.join(os.path.dirname(path), _STATE)
            os.replace(piece, state if os.path.basename(piece) == _STATE else path + ending)


def _move_folder(written: str, path: str) -> None:
    before = f"{written}.before"  # removed with the workspace
    is_replaced = os.path.isdir(path)
    if is_replaced:
        check_replaceable(path)
        os.rename(path, before)
    try:
        os.rename(written, path)
    except BaseException:
        if is_replaced and not os.path.lexists(path):
            os.rename(before, path)
        raise


def check_replaceable(folder: str) -> None:
    """Raise InvalidPath for a folder that is neither empty nor a SavedModel."""
    names = os.listdir(folder)
    if names and _SIGN not in names:
        raise InvalidPath(
            "A SavedModel cannot replace a folder that holds other files "
            f"({', '.join(sorted(names)[:3])}). Received: {folder!r}"
        )

"""Checkpoints of several files: a folder (SavedModel), or files with a common prefix.

They appear under their final names as nearly at once as a file system allows. A folder takes two
renames, so a replaced folder is missing for a moment. The index of a TensorFlow checkpoint comes
last, because it makes the other files a checkpoint.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat

from kept.bucket.file_io import sync_file, sync_folder
from kept.errors import InvalidPath
from kept.names import portable_name
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
    """Return the files of a checkpoint: path in the version -> file at its final name.

    The file that checkpoints in one folder share is left out.
    """
    real = os.path.basename(path)
    stored = portable_name(real)
    found = {name: file for name, file in files_of(path).items() if name != _STATE}
    return {stored + name.removeprefix(real): file for name, file in found.items()}


def exists(path: str) -> bool:
    """Return whether a checkpoint exists under that final name."""
    return os.path.exists(path) or os.path.exists(f"{path}.index")


def remove(path: str) -> None:
    """Remove a checkpoint from its final name, where no half of one is ever visible."""
    path = os.path.realpath(path)  # a link stays, as it does when a file is written there
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
    """Move a checkpoint to its final name; raises InvalidPath for a folder of other files.

    As open(path, "w") does, it follows a symbolic link at path, and the permissions and the owner
    of what it replaces stay. Another hard link keeps the older file, because the new one is another
    file.
    """
    if os.path.isfile(written):
        _replace(written, path)
    elif os.path.isdir(written):
        path = os.path.realpath(path)
        _keep_attributes(written, path)
        _move_folder(written, path)
    else:
        for piece in paths_of(written):
            ending = piece.removeprefix(written)
            if os.path.basename(piece) == _STATE:
                _rename_in_state(piece, os.path.basename(written), os.path.basename(path))
                _replace(piece, os.path.join(os.path.dirname(path), _STATE))
            else:
                _replace(piece, path + ending)


def _replace(written: str, path: str) -> None:
    path = os.path.realpath(path)
    _keep_attributes(written, path)
    os.replace(written, path)


def _keep_attributes(written: str, path: str) -> None:
    """Give a new file or folder the permissions and the owner of the one that it replaces."""
    try:
        before = os.stat(path)
    except FileNotFoundError:
        return
    if stat.S_ISREG(before.st_mode) and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "the file there is read-only", path)
    new = os.stat(written)
    if (new.st_uid, new.st_gid) != (before.st_uid, before.st_gid):
        with contextlib.suppress(OSError):  # only root may give a file away
            os.chown(written, before.st_uid, before.st_gid)
    os.chmod(written, stat.S_IMODE(before.st_mode))


def _rename_in_state(file: str, written: str, name: str) -> None:
    """Make the file that names the newest TensorFlow checkpoint name it as it is published."""
    if written != name:
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        with open(file, "r+", encoding="utf-8") as state:
            text = state.read().replace(f'"{written}"', f'"{escaped}"')
            state.seek(0)
            state.truncate()
            state.write(text)


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

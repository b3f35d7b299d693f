"""Checkpoints of several files: a folder (SavedModel), or files with a common prefix.

They appear under their final names as nearly at once as a file system allows. A folder takes two
renames, so a replaced folder is missing for a moment. In a folder that holds other files, too, the
files of the SavedModel are replaced one by one. The file that makes the others a checkpoint comes
last: the index of a TensorFlow checkpoint, saved_model.pb of a SavedModel.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat
from typing import TYPE_CHECKING

from kept.bucket.file_io import sync_file, sync_folder
from kept.names import portable_name
from kept.workspace import workspace

if TYPE_CHECKING:
    from kept.training.keras_api.formats import Format

_SIGN = "saved_model.pb"  # the file that makes a folder a SavedModel
_OF_A_SAVED_MODEL = {_SIGN, "fingerprint.pb", "keras_metadata.pb", "variables", "debug"}
_ASSETS = {"assets", "assets.extra"}  # of a SavedModel, but a project may have such a folder, too
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
        for file in [path] if os.path.isfile(path) else _files_below(path):
            found[os.path.relpath(file, os.path.dirname(path)).replace(os.sep, "/")] = file
    return found


def _files_below(folder: str) -> list[str]:
    return [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names]


def own_files_of(path: str, format: Format) -> dict[str, str]:
    """Return the files of a checkpoint: path in the version -> file at its final name.

    The file that checkpoints in one folder share is left out, and so are other files in a folder.
    """
    if format.is_folder:
        found = files_of(path) if exists(path, format) else {}
        own = _OF_A_SAVED_MODEL | _ASSETS
        return {name: file for name, file in found.items() if name.partition("/")[0] in own}
    if format.is_prefix:
        real, stored = os.path.basename(path), stored_name(path)
        return {
            stored + os.path.basename(file).removeprefix(real): file
            for file in paths_of(path)
            if os.path.basename(file) != _STATE and os.path.isfile(file)
        }
    return {stored_name(path): path} if os.path.isfile(path) else {}


def stored_name(path: str) -> str:
    """Return the name that a checkpoint has in its version."""
    return portable_name(os.path.basename(os.path.abspath(path)))


def exists(path: str, format: Format) -> bool:
    """Return whether a checkpoint exists under that final name."""
    if format.is_folder:
        return os.path.isfile(os.path.join(path, _SIGN))
    return os.path.isfile(f"{path}.index" if format.is_prefix else path)


def remove(path: str, format: Format) -> None:
    """Remove a checkpoint from its final name, where no half of one is ever visible.

    A folder that holds other files, too, stays as it is.
    """
    if format.is_prefix:
        for file in sorted(own_files_of(path, format).values(), reverse=True):  # the index first
            os.unlink(file)
        return
    path = os.path.realpath(path)  # a link stays, as it does when a file is written there
    if os.path.isfile(path):
        os.unlink(path)
    elif {*os.listdir(path)} <= _OF_A_SAVED_MODEL | _ASSETS and not _must_stay(path):
        with workspace(os.path.dirname(path)) as aside:
            os.rename(path, os.path.join(aside, "gone"))


def sync(written: str) -> None:
    """Write a checkpoint to the disk, durably, in place."""
    for file in files_of(written).values():
        sync_file(file)
    if os.path.isdir(written):
        for where, _, _ in os.walk(written):
            sync_folder(where)


def place_for(path: str, format: Format) -> str:
    """Return the folder in which a checkpoint becomes complete before it moves to its path."""
    if format.is_prefix:
        return os.path.realpath(os.path.dirname(path))
    real = os.path.realpath(path)
    return real if format.is_folder and _is_shared(real) else os.path.dirname(real)


def move(written: str, path: str) -> None:
    """Move a checkpoint to its final name, durably.

    As open(path, "w") does, it follows a symbolic link at path, and the permissions and the owner
    of what it replaces stay. Another hard link keeps the older file, because the new one is another
    file.
    """
    if os.path.isfile(written):
        _replace(written, path)
        sync_folder(os.path.dirname(os.path.realpath(path)))
    elif os.path.isdir(written):
        path = os.path.realpath(path)
        _keep_attributes(written, path)
        if _is_shared(path):
            _merge_folder(written, path)
        else:
            _move_folder(written, path)
            sync_folder(os.path.dirname(path))
    else:
        folder, name = os.path.split(path)
        for piece in paths_of(written):
            ending = piece.removeprefix(written)
            if os.path.basename(piece) == _STATE:
                # TensorFlow names a checkpoint without a name in a folder like this.
                _rename_in_state(piece, os.path.basename(written), name or ".")
                _replace(piece, os.path.join(folder, _STATE))
            else:
                _replace(piece, path + ending)
        sync_folder(os.path.realpath(folder))


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


def _is_shared(folder: str) -> bool:
    """Return whether an existing folder must stay, so that a SavedModel joins what it holds."""
    if not os.path.isdir(folder):
        return False
    names = {*os.listdir(folder)}
    names -= {name for name in _ASSETS & names if not os.listdir(os.path.join(folder, name))}
    is_saved_model = _SIGN in names and names <= _OF_A_SAVED_MODEL
    return not (is_saved_model or not names) or _must_stay(folder)


def _must_stay(folder: str) -> bool:
    """Return whether a folder cannot be renamed, or must not because the process works in it."""
    is_fixed = os.path.ismount(folder) or os.path.samefile(folder, os.curdir)
    return is_fixed or not os.access(os.path.dirname(os.path.realpath(folder)), os.W_OK)


def _merge_folder(written: str, path: str) -> None:
    """Move the files of a SavedModel into a folder of other files; an error takes them back."""
    before = f"{written}.before"  # removed with the workspace
    moved: list[tuple[str, str]] = []  # source and target

    def rename(source: str, target: str) -> None:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(source, target)
        moved.append((source, target))

    names = sorted(os.path.relpath(file, written) for file in _files_below(written))
    try:
        for name in sorted(names, key=lambda name: name != _SIGN):
            if os.path.lexists(os.path.join(path, name)):
                rename(os.path.join(path, name), os.path.join(before, name))
        for name in sorted(names, key=lambda name: name == _SIGN):
            rename(os.path.join(written, name), os.path.join(path, name))
    except BaseException:
        for source, target in reversed(moved):
            os.rename(target, source)
        raise
    for folder in {os.path.dirname(os.path.join(path, name)) for name in names}:
        sync_folder(folder)


def _move_folder(written: str, path: str) -> None:
    before = f"{written}.before"  # removed with the workspace
    is_replaced = os.path.isdir(path)
    if is_replaced:
        os.rename(path, before)
    try:
        os.rename(written, path)
    except BaseException:
        if is_replaced and not os.path.lexists(path):
            os.rename(before, path)
        raise

"""What a power cut would leave of folders, derived from the calls that a program makes.

It follows renames of whole folders, hard links and symbolic links, which an outbox needs. Two disks
stand at the ends of what POSIX allows:
- the lazy one keeps only what was synced: bytes by fsync of the file, names by fsync of the folder;
- the eager one keeps every name at once, but of the bytes, too, only what was synced.
"""

from __future__ import annotations

import builtins
import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(eq=False)
class _File:
    synced: bytes = b""


@dataclass(eq=False)
class _Link:
    target: str


@dataclass(eq=False)
class _Folder:
    names: dict = field(default_factory=dict)
    durable: dict = field(default_factory=dict)


class PowerCut:
    """Watches the calls of one thread below some folders; on_step runs after each change."""

    def __init__(self, monkeypatch, *roots):
        self.on_step = lambda: None
        self._roots = {str(root): _Folder() for root in roots}
        self._opened = {}
        for name in ("open", "fsync", "link", "symlink", "replace", "rename", "unlink", "mkdir"):
            self._watch(monkeypatch, os, name, getattr(self, f"_{name}"))
        self._watch(monkeypatch, builtins, "open", self._open_stream)

    def _watch(self, monkeypatch, module, name, follow):
        real = getattr(module, name)

        def watched(*args, **options):
            result = real(*args, **options)
            # Calls with dir_fd are those of rmtree, in folders that have lost their names.
            if not options.get("dir_fd") and follow(result, *args):
                self.on_step()
            return result

        monkeypatch.setattr(module, name, watched)

    def write(self, kind, folder):
        """Write what the disk "lazy" or "eager" has; return where each root is now."""
        moved = {root: os.path.join(folder, str(n)) for n, root in enumerate(self._roots)}
        for root, node in self._roots.items():
            self._write(kind, node, moved[root], moved)
        return moved

    def _write(self, kind, folder, path, moved):
        os.mkdir(path)
        for name, node in (folder.durable if kind == "lazy" else folder.names).items():
            below = os.path.join(path, name)
            if isinstance(node, _Folder):
                self._write(kind, node, below, moved)
            elif isinstance(node, _File):
                Path(below).write_bytes(node.synced)
            else:
                [root] = [root for root in moved if node.target.startswith(f"{root}/")]
                os.symlink(moved[root] + node.target[len(root) :], below)

    def _folder_and_name(self, path):
        """Return the node of the folder that a path is in, or None outside of the roots."""
        for root, node in self._roots.items():
            if path.startswith(f"{root}/"):
                *above, name = path[len(root) + 1 :].split("/")
                folder = node
                for each in above:
                    below = folder.names[each]
                    folder = self._node(below.target) if isinstance(below, _Link) else below
                return folder, name
        return None, ""

    def _node(self, path):
        if path in self._roots:
            return self._roots[path]
        folder, name = self._folder_and_name(path)
        return folder.names.get(name) if folder else None

    def _set(self, path, node):
        folder, name = self._folder_and_name(path)
        if folder:
            folder.names[name] = node
        return folder is not None

    def _open(self, descriptor, path, flags, *_):
        path = os.fspath(path)
        if flags & os.O_CREAT and self._node(path) is None:
            self._set(path, _File())
        node = self._node(path)
        self._opened[descriptor] = self._node(node.target) if isinstance(node, _Link) else node

    def _open_stream(self, _, path, mode="r", *__):
        if "w" in mode or "x" in mode:
            self._set(os.fspath(path), _File())

    def _fsync(self, _, descriptor):
        node = self._opened.get(descriptor)
        if isinstance(node, _File):
            node.synced = os.pread(descriptor, 1_000_000, 0)
        elif node:
            node.durable = dict(node.names)
        return True

    def _link(self, _, source, target):
        if self._node(source) is None:  # written before, by another program
            self._set(source, _File())
        return self._set(target, self._node(source))

    def _symlink(self, _, target, path):
        return self._set(path, _Link(target))

    def _rename(self, _, source, target):
        folder, name = self._folder_and_name(os.fspath(source))
        return bool(folder) and self._set(os.fspath(target), folder.names.pop(name))

    _replace = _rename

    def _unlink(self, _, path, *__):
        folder, name = self._folder_and_name(os.fspath(path))
        if folder:
            folder.names.pop(name, None)

    def _mkdir(self, _, path, *__):
        return self._set(os.fspath(path), _Folder())

"""Derives the state of a folder after a power cut from the calls of a program.

Two disks are the extremes that POSIX allows:
- the lazy one keeps only what was synced: bytes by fsync of the file, names by fsync of the folder;
- the eager one keeps every name at once, but also only the synced bytes.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


@dataclass
class _File:
    descriptor: int
    synced: bytes = b""


class PowerCut:
    """Watches LocalBucket's calls; on_step is called after each one that changes anything."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: str) -> None:
        self.root = root
        self.calls: list[tuple[str, str]] = []  # what was called, on which path
        self.on_step: Callable[[], None] = lambda: None
        self._opened: dict[int, _File | str] = {}
        self._names: dict[str, _File | None] = {}  # None is a folder
        self._durable: dict[str, _File | None] = {}
        self._lock = threading.RLock()
        for name in ("open", "fsync", "link", "replace", "rename", "unlink", "mkdir"):
            self._watch(monkeypatch, name)

    def lazy(self) -> dict[str, bytes]:
        return self._files(self._durable)

    def eager(self) -> dict[str, bytes]:
        return self._files(self._names)

    def _files(self, names: dict[str, _File | None]) -> dict[str, bytes]:
        return {
            os.path.relpath(path, self.root): file.synced
            for path, file in names.items()
            if file and self._reachable(path, names) and f"{self.root}/tmp/" not in path
        }

    def _reachable(self, path: str, names: dict[str, _File | None]) -> bool:
        folder = os.path.dirname(path)
        return folder == os.path.dirname(self.root) or (
            folder in names and self._reachable(folder, names)
        )

    def _watch(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        real, follow = getattr(os, name), getattr(self, f"_{name}")

        def watched(*args, **options):
            with self._lock:
                result = real(*args, **options)
                if follow(result, *args):
                    self.on_step()
                return result

        monkeypatch.setattr(os, name, watched)

    def _open(self, descriptor, path, flags, *_):
        self._opened[descriptor] = path
        if flags & os.O_CREAT:
            self._opened[descriptor] = self._names[path] = _File(descriptor)

    def _fsync(self, _, descriptor):
        opened = self._opened[descriptor]
        if isinstance(opened, _File):
            # The descriptor is write-only: read by the name that it has in /proc.
            with open(f"/proc/self/fd/{descriptor}", "rb") as file:
                opened.synced = file.read()
            self.calls.append(("fsync file", ""))
        else:
            inside = {p: f for p, f in self._names.items() if os.path.dirname(p) == opened}
            kept = {p: f for p, f in self._durable.items() if os.path.dirname(p) != opened}
            self._durable = kept | inside
            self.calls.append(("fsync folder", opened))
        return True

    def _link(self, _, source, target):
        self._names[target] = self._names[source]
        self.calls.append(("name", target))
        return True

    def _replace(self, _, source, target):
        self._names[target] = self._names.pop(source)
        self.calls.append(("name", target))
        return True

    _rename = _replace

    def _unlink(self, _, path):
        self._names.pop(path, None)
        return True

    def _mkdir(self, _, path, *__):
        self._names[path] = None
        self.calls.append(("mkdir", path))
        return True

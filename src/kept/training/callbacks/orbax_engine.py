"""Orbax's checkpointer as kept uses it: tensor by tensor on the disk, each finished step secured.

Invariant: no step is deleted before its version exists. Orbax deletes old steps (max_to_keep) when
a later save is finished. So before a save begins, every earlier step has hard links in a folder of
kept, and the version is made from these links. A step has its own name there once all its links are
made. The links that a killed process leaves are steps of the next fit, before they are removed.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import threading
from typing import TYPE_CHECKING, Any, Protocol

from kept.errors import SaveFailed
from kept.store.orbax.steps import Step, read_step
from kept.workspace import workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Saves(Protocol):
    """Takes the saves of an Engine, in a hook of the fit."""

    def save_begins(self) -> Mapping[str, Any]:
        """Secure the earlier steps; return what Orbax notes beside the step, as JSON."""

    def save_begun(self, number: int, response: Any) -> None:
        """Take a step that Orbax is saving; response is Orbax's, None if Orbax leaves it out."""


class Engine:
    """Stands before Orbax's checkpointer in Keras's callback, and reports each save."""

    def __init__(self, checkpointer: Any, saves: Saves) -> None:
        self._checkpointer, self._saves = checkpointer, saves
        _silence_a_warning()

    def __getattr__(self, name: str) -> Any:
        if name == "_checkpointer":  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self._checkpointer, name)

    def save_checkpointables(self, step: int, payload: Mapping[str, Any], **more: Any) -> bool:
        """Save a step, and wait until it is finished."""
        response = self.save_checkpointables_async(step, payload, **more)
        return response is not None and bool(response.result())

    def save_checkpointables_async(self, step: int, payload: Mapping[str, Any], **more: Any) -> Any:
        """Begin to save a step; return Orbax's response."""
        noted = {**(more.pop("custom_metadata", None) or {}), **self._saves.save_begins()}
        with _files_for_tensors():
            response = self._checkpointer.save_checkpointables_async(
                step, payload, custom_metadata=noted, **more
            )
        self._saves.save_begun(int(step), response)
        return response


class SavedStep:
    """A step on its way from Orbax to a version; any thread may secure it."""

    def __init__(self, folder: str, response: Any = None, source: str | None = None) -> None:
        """Take the step's folder, and Orbax's response if the step is not finished.

        source is a folder with the same files, if Orbax may have deleted the step's own.
        """
        self.folder, self._response, self._source = folder, response, source or folder
        self._lock = threading.Lock()
        self._held = contextlib.ExitStack()
        self._links: str | None = None

    @property
    def is_of_this_run(self) -> bool:
        """Whether this process has saved the step, and not an earlier run."""
        return self._response is not None

    def secure(self) -> str:
        """Wait until Orbax has finished the step; return a folder with links to its files.

        Raises what Orbax raises, or OSError.
        """
        with self._lock:
            if self._links is None:
                if self._response is not None:
                    self._response.result()
                parent, name = os.path.split(self.folder)
                place = os.path.join(self._held.enter_context(workspace(parent)), name)
                shutil.copytree(self._source, f"{place}.incomplete", copy_function=_link)
                os.rename(f"{place}.incomplete", place)
                self._links = place
            return self._links

    def read(self) -> Step:
        """Return what the secured step says of itself."""
        step = read_step(self.secure())
        if step is None:
            raise SaveFailed(f"Orbax has put no commit marker into {self.folder}")
        return step

    def release(self) -> None:
        """Remove the links."""
        with self._lock:
            self._held.close()
            self._response = None


@contextlib.contextmanager
def _files_for_tensors() -> Iterator[None]:
    """Have Orbax write each tensor into files of its own.

    Its default is a database (OCDBT), in whose files each save has new bytes, so nothing of a
    version would be stored already.
    """
    from orbax.checkpoint import v1 as orbax

    context = orbax.Context()
    context.array.saving.use_ocdbt = False
    with context:
        yield


@functools.cache
def _silence_a_warning() -> None:
    """Drop what Orbax logs twice in each save without OCDBT: that it merges no such files."""
    needless = "Skipping merge of OCDBT checkpoints"
    logging.getLogger("absl").addFilter(lambda record: needless not in str(record.msg))


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
    return target

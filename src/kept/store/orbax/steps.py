"""Reads a folder of Orbax: its steps, and which of them are finished.

Orbax writes a step below a temporary name and renames it when it is complete, so a step without
that name is finished. Each finished step holds _CHECKPOINT_METADATA, a JSON object with the time of
its commit. kept's callback adds what it knows of the step to that file, so a step says everything
about itself, also after a crash.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.errors import InvalidInput, InvalidPath
from kept.names import LATEST, check_aliases
from kept.store.metadata import MeasuredMetadata, check_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN_KEY = "kept"  # of Orbax's custom_metadata, for the facts that kept's callback adds
_TEMPORARY = ".orbax-checkpoint-tmp"
_METADATA = "_CHECKPOINT_METADATA"
_MARKER = "commit_success.txt"  # of file systems without a rename, and of all since Orbax 0.12.3
_NUMBERED = re.compile(r"(?:.*\D)?(\d+)")

Identity = tuple[int, int | None]


class Facts(NamedTuple):
    """What becomes of a step in the log: what kept's callback adds to Orbax's own facts."""

    aliases: tuple[str, ...]
    metadata: Mapping[str, Any]
    contends: bool  # whether the version may become the best one

    def as_json(self) -> dict[str, Any]:
        """Return the facts for Orbax's custom_metadata."""
        return {OWN_KEY: check_metadata({**self._asdict(), "aliases": list(self.aliases)})}


@dataclass(frozen=True, slots=True)
class Step:
    """A finished step of Orbax."""

    number: int
    folder: str
    saved: int | None  # when Orbax committed it: nanoseconds since 1970
    facts: Facts
    metrics: Mapping[str, Any]  # as the user handed them to Orbax

    @property
    def identity(self) -> Identity:
        """Names this save of this step: a later run may save the same step again."""
        return self.number, self.saved

    def metadata(self, started: float) -> MeasuredMetadata:
        """Return the metadata of its version, whose writing began at started."""
        values = {
            "step": self.number,
            "format": "orbax",
            **({"metrics": self.metrics} if self.metrics else {}),
            **self.facts.metadata,
            "orbax": {"step": self.number, "saved": self.saved},
        }
        return MeasuredMetadata(values, started, ("write_seconds",), contends=self.facts.contends)


class Steps(NamedTuple):
    """The steps of a folder."""

    finished: list[Step]  # by number
    unfinished: list[str]  # the names of their folders


def identity_of(metadata: Mapping[str, Any]) -> Identity | None:
    """Return which save of Orbax a version is, by its metadata; None if it is none."""
    match metadata:
        case {"orbax": {"step": int(number), "saved": int() | None as saved}}:
            return number, saved
    return None


def find_steps(folder: str | os.PathLike[str]) -> Steps:
    """Return the steps of a folder of Orbax; raises InvalidPath if it is no folder of steps."""
    root = os.path.abspath(folder)
    if not os.path.isdir(root):
        raise InvalidPath(f"A folder of Orbax is expected. Received: {os.fspath(folder)!r}")
    if os.path.exists(os.path.join(root, _METADATA)):
        raise InvalidPath(
            "This folder is one checkpoint of Orbax. Pass the folder of its steps, or store it as "
            f"any folder: kept put NAME {os.fspath(folder)}. Received: {os.fspath(folder)!r}"
        )
    finished, unfinished = [], []
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir())
    for name in names:
        if _TEMPORARY in name:
            unfinished.append(name)
        elif _NUMBERED.fullmatch(name):
            step = read_step(os.path.join(root, name))
            if step is not None:
                finished.append(step)
            elif name.isdigit():
                unfinished.append(name)
    return Steps(sorted(finished, key=lambda step: step.number), unfinished)


def read_step(folder: str) -> Step | None:
    """Return the step in a folder whose name ends in its number; None if it is not finished."""
    noted = _json_in(os.path.join(folder, _METADATA))
    saved = noted.get("commit_timestamp_nsecs")
    saved = saved if isinstance(saved, int) else None
    if saved is None and not os.path.exists(os.path.join(folder, _MARKER)):
        return None
    name = os.path.basename(folder)
    numbered = _NUMBERED.fullmatch(name)
    if numbered is None:
        raise InvalidPath(f"The name of a step ends in its number. Received: {folder!r}")
    number = int(numbered[1])
    own = noted.get("custom_metadata")
    facts = _facts(own.get(OWN_KEY) if isinstance(own, dict) else None, number)
    metrics = _json_in(os.path.join(folder, "metrics", "metrics")) or noted.get("metrics")
    return Step(number, folder, saved, facts, metrics if isinstance(metrics, dict) else {})


def _facts(own: Any, number: int) -> Facts:
    """Return what kept's callback noted; for a step of another program, an alias alone."""
    match own:
        case {"aliases": list(aliases), "metadata": dict(metadata), "contends": bool(contends)}:
            try:
                own = check_aliases(a for a in aliases if a != LATEST)  # an earlier kept took it
                return Facts(own, metadata, contends)
            except InvalidInput:  # the file was edited; Orbax's own facts remain
                pass
    return Facts((f"step_{number}",), {}, contends=False)


def _json_in(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except (OSError, ValueError, RecursionError):  # the last one: nested too deeply
        return {}
    return value if isinstance(value, dict) else {}

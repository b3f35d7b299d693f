"""Reads a run from the files of MLflow; needs no MLflow, and finds what was moved."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from kept.errors import ImportFailed, InvalidPath
from kept.exchange.importing.mlflow.run import Artifact, Model, Run, RunSource, own_tags

if TYPE_CHECKING:
    from collections.abc import Iterator

_META = "meta.yaml"
_MOST = 2**20  # bytes of a file of facts


class DiskRun(RunSource):
    """The folder of a run, as mlruns/EXPERIMENT/RUN."""

    def __init__(self, folder: str) -> None:
        """Read the facts; raises InvalidPath for a folder that is none of a run."""
        self._folder = os.path.abspath(folder)
        facts = _facts(os.path.join(self._folder, _META))
        if "run_id" not in facts:
            raise InvalidPath(f"The folder is none of a run of MLflow. Received: {folder}")
        tags = _texts(os.path.join(self._folder, "tags"))
        metrics = _metrics(os.path.join(self._folder, "metrics"))
        self.run = Run(
            id=facts["run_id"],
            name=tags.get("mlflow.runName") or facts.get("run_name", ""),
            ended=_number(facts.get("end_time")) or _number(facts.get("start_time")) or 0,
            params=_texts(os.path.join(self._folder, "params")),
            tags=own_tags(tags),
            metrics=metrics,
        )

    def models(self) -> list[Model]:
        """Return the models among the outputs of the run."""
        outputs = os.path.join(self._folder, "outputs")
        found = []
        for id in sorted(os.listdir(outputs)) if os.path.isdir(outputs) else ():
            folder = self._place(id)
            facts = _facts(os.path.join(folder, _META))
            if not facts:  # it was deleted
                continue
            output = _facts(os.path.join(outputs, id, _META))
            found.append(
                Model(
                    id=id,
                    name=facts.get("name", id),
                    step=_number(output.get("step")),
                    created=_number(facts.get("creation_timestamp")) or self.run.ended,
                    metrics=_metrics(os.path.join(folder, "metrics")),
                    tags=own_tags(_texts(os.path.join(folder, "tags"))),
                )
            )
        return found

    def artifacts(self) -> list[Artifact]:
        """Return the files below artifacts/."""
        root = os.path.join(self._folder, "artifacts")
        found = []
        for where, _, names in os.walk(root):
            for name in names:
                full = os.path.join(where, name)
                if os.path.isfile(full):
                    facts = os.stat(full)
                    path = os.path.relpath(full, root).replace(os.sep, "/")
                    found.append(Artifact(path, facts.st_size, facts.st_mtime_ns // 10**6))
        return sorted(found)

    def fetch(self, model: Model | None, path: str, folder: str) -> str:
        """Return the place of the files; nothing is copied."""
        del folder
        root = self._folder if model is None else self._place(model.id)
        place = os.path.join(root, "artifacts", *path.split("/"))
        if not os.path.exists(place):
            raise ImportFailed(f"its files are missing: expected {place}")
        return os.path.normpath(place)

    def _place(self, id: str) -> str:
        return os.path.join(os.path.dirname(self._folder), "models", id)


def _facts(path: str) -> dict[str, str]:
    """Return the facts in a file of MLflow, which has one on each line; none if it is missing."""
    found = {}
    for line in _read(path).splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == key:
            found[key] = _scalar(value.strip())
    return found


def _scalar(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if text.startswith('"'):
        try:
            return str(json.loads(text))
        except ValueError:
            return text.strip('"')
    return text


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_MOST)
    except OSError:
        return ""


def _texts(folder: str) -> dict[str, str]:
    """Return the files below a folder: a name can have slashes, so it can be a path."""
    return {name: _read(path).strip() for name, path in _below(folder)}


def _metrics(folder: str) -> dict[str, float]:
    """Return the last value of each metric; a line has time, value and step."""
    found = {}
    for name, path in _below(folder):
        lines = [line.split() for line in _read(path).splitlines()]
        values = [_value(parts[1]) for parts in lines if len(parts) > 1]
        if values and values[-1] is not None:
            found[name] = values[-1]
    return found


def _below(folder: str) -> Iterator[tuple[str, str]]:
    for where, _, names in os.walk(folder):
        for name in sorted(names):
            path = os.path.join(where, name)
            yield os.path.relpath(path, folder).replace(os.sep, "/"), path


def _value(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.lstrip("-").isdigit() else None

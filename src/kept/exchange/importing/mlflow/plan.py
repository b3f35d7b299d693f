"""The models of a run of MLflow, as checkpoints to import."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kept.errors import ImportFailed, InvalidPath
from kept.exchange.importing.check import ENDINGS, check_file, facts_of
from kept.exchange.importing.item import Facts, Item, Plan
from kept.exchange.importing.mlflow.files import DiskRun
from kept.units import time_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kept.exchange.importing.mlflow.run import Artifact, Model, Run, RunSource

_MLMODEL = "MLmodel"  # makes a folder a model
# What the callback of MLflow's autolog writes beside each checkpoint.
_METRICS = "checkpoint_metrics.json"
_OF_CALLBACK = re.compile(r"checkpoints/(?:epoch|global_step)_\d+/[^/]+")
_MOST = 2**20  # bytes of it


class ModelItem(Item):
    """A model, or a checkpoint, of a run."""

    def __init__(self, source: RunSource, facts: Facts, model: Model | None, path: str) -> None:
        """Take the run, what is known, and the path of the files below the model or the run."""
        self._source, self._model, self._path = source, model, path
        self.facts = facts
        self._place = ""

    @contextlib.contextmanager
    def files(self) -> Iterator[Sequence[str]]:
        """Fetch and check the files; yield a file, or what lies at the top of a folder."""
        with tempfile.TemporaryDirectory(prefix="kept-") as folder:
            self._place = self._source.fetch(self._model, self._path, folder)
            for file in self._keras_files():
                check_file(file)
            if os.path.isfile(self._place):
                yield [self._place]
                return
            names = sorted(os.listdir(self._place))
            if not names:
                raise ImportFailed("it has no files")
            yield [os.path.join(self._place, name) for name in names]

    def source_answers(self) -> bool:
        """Return whether the source of the run answers."""
        return self._source.answers()

    def read_metadata(self) -> dict[str, Any]:
        """Return what the only file of Keras states."""
        found = self._keras_files()
        return facts_of(found[0]) if len(found) == 1 else {}

    def _keras_files(self) -> list[str]:
        if os.path.isfile(self._place):
            return [self._place] if self._place.endswith(ENDINGS) else []
        return [
            os.path.join(where, name)
            for where, _, names in os.walk(self._place)
            for name in names
            if name.endswith(ENDINGS)
        ]


def run_at(text: str) -> RunSource:
    """Return the run in a folder, or that of an id at the tracking server."""
    if os.path.isdir(text):
        return DiskRun(text)
    if "/" in text or os.sep in text:
        raise InvalidPath(f"The folder of a run of MLflow does not exist. Received: {text}")
    from kept.exchange.importing.mlflow.client import ClientRun

    return ClientRun(text)


def items_of(source: RunSource) -> list[ModelItem]:
    """Return the models of a run, in the order of their steps and times."""
    models = sorted(source.models(), key=lambda m: (-1 if m.step is None else m.step, m.created))
    items = [ModelItem(source, _of_model(source.run, model), model, "") for model in models]
    return items + _of_artifacts(source)


def plan_for(source: RunSource, name: str) -> Plan:
    """Return the plan of a run; raises InvalidPath if it has no model."""
    items = items_of(source)
    if not items:
        raise InvalidPath(
            f"The run {source.run.id} of MLflow has no model, and no file of Keras among its "
            "artifacts"
        )
    return Plan(name, items)


def _of_model(run: Run, model: Model) -> Facts:
    return Facts(
        label=model.name if model.step is None else f"{model.name}, step {model.step}",
        origin={"mlflow": run.id, "model": model.id},
        step=model.step,
        metrics=dict(model.metrics),
        saved_at=_moment(model.created),
        metadata=_described(run, {"model": model.name, "model_tags": model.tags}),
    )


def _of_artifacts(source: RunSource) -> list[ModelItem]:
    """Return the models and checkpoints among the artifacts, by path."""
    files = source.artifacts()
    folders = {os.path.dirname(f.path) for f in files if os.path.basename(f.path) == _MLMODEL}
    found = []
    for folder in sorted(folders):
        inside = [f for f in files if _is_below(f.path, folder)]
        metrics = source.run.metrics if len(folders) == 1 else {}
        found.append(
            ModelItem(source, _of_files(source.run, folder, inside, metrics), None, folder)
        )
    for file in files:
        is_inside = any(_is_below(file.path, folder) for folder in folders)
        if file.path.endswith(ENDINGS) and not is_inside:
            noted = _noted(source, file, files)
            metrics = {k: float(v) for k, v in noted.items() if isinstance(v, (int, float))}
            epoch, step = metrics.pop("epoch", None), metrics.pop("global_step", None)
            facts = _of_files(source.run, file.path, [file], metrics, epoch, step)
            found.append(ModelItem(source, facts, None, file.path))
    return sorted(found, key=_order)


def _order(item: ModelItem) -> tuple[bool, int, int, str]:
    facts = item.facts
    is_bare = facts.epoch is None and facts.step is None
    return is_bare, facts.epoch or 0, facts.step or 0, facts.label


def _is_below(path: str, folder: str) -> bool:
    return not folder or path.startswith(f"{folder}/")


def _of_files(
    run: Run,
    path: str,
    files: Sequence[Artifact],
    metrics: dict[str, float],
    *counts: float | None,
) -> Facts:
    """Return what is known of files among the artifacts; counts are epoch and step."""
    epoch, step = (None if count is None else int(count) for count in counts or (None, None))
    times = [file.modified for file in files if file.modified is not None]
    return Facts(
        label=f"artifacts/{path}" if path else "artifacts",
        origin={"mlflow": run.id, "artifact": path},
        epoch=epoch,
        step=step,
        metrics=dict(metrics),
        saved_at=_moment(max(times, default=run.ended)),
        size=sum(file.size or 0 for file in files),
        metadata=_described(run, {}),
    )


def _noted(source: RunSource, file: Artifact, files: Sequence[Artifact]) -> dict[str, Any]:
    """Return what MLflow's callback notes beside a checkpoint: metrics, epoch and step."""
    path = f"{os.path.dirname(file.path)}/{_METRICS}"
    if not _OF_CALLBACK.fullmatch(file.path) or path not in {f.path for f in files}:
        return {}
    with (
        tempfile.TemporaryDirectory(prefix="kept-") as folder,
        open(source.fetch(None, path, folder), encoding="utf-8") as opened,
    ):
        try:
            found = json.loads(opened.read(_MOST))
        except ValueError:
            return {}
    return found if isinstance(found, dict) else {}


def _described(run: Run, more: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata: what the run and the model say of themselves."""
    said = {"run_id": run.id, "run": run.name, "params": run.params, "tags": run.tags, **more}
    return {"mlflow": {key: value for key, value in said.items() if value}}


def _moment(milliseconds: int) -> str | None:
    return time_text(datetime.fromtimestamp(milliseconds / 1000, UTC)) if milliseconds else None

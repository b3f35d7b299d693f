"""Reads a run through the client of MLflow: the one module that imports mlflow.

These facts were observed with mlflow-skinny 3.17.2 and 2.22.5:

* A run of MLflow 3 lists its models as outputs, each with a step; one of MLflow 2 has none.
* Since MLflow 3, list_artifacts of a run does not list the files of these models.
* The client of MLflow 3.17 refuses a tracking folder, unless MLFLOW_ALLOW_FILE_STORE is set.
* A database needs the whole package mlflow, because mlflow-skinny has no SQLAlchemy.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from kept.errors import ImportFailed, InvalidInput, KeptError, NotFound
from kept.exchange.importing.mlflow.run import Artifact, Model, Run, RunSource, own_tags

if TYPE_CHECKING:
    from collections.abc import Iterator

_MISSING = "RESOURCE_DOES_NOT_EXIST"  # the code of MLflow's errors


class ClientRun(RunSource):
    """A run at the tracking server that MLFLOW_TRACKING_URI names."""

    def __init__(self, run_id: str) -> None:
        """Read the facts; raises InvalidInput without mlflow, NotFound or ImportFailed."""
        self._mlflow = _package()
        with _failures(f"the run {run_id}"):
            self._client = self._mlflow.MlflowClient()
            run = self._client.get_run(run_id)
        info, data = run.info, run.data
        self.run = Run(
            id=info.run_id,
            name=info.run_name or "",
            ended=int(info.end_time or info.start_time or 0),
            params=dict(data.params),
            tags=own_tags(dict(data.tags)),
            metrics=dict(data.metrics),
        )
        self._outputs = getattr(getattr(run, "outputs", None), "model_outputs", None) or ()

    def models(self) -> list[Model]:
        """Return the models among the outputs of the run."""
        found = []
        for output in self._outputs:
            with _failures(f"the model {output.model_id}"):
                model = self._client.get_logged_model(output.model_id)
            last = sorted(model.metrics or (), key=lambda m: (m.step or 0, m.timestamp or 0))
            found.append(
                Model(
                    id=model.model_id,
                    name=model.name or model.model_id,
                    step=output.step,
                    created=int(model.creation_timestamp),
                    metrics={metric.key: float(metric.value) for metric in last},
                    tags=own_tags(dict(model.tags or {})),
                )
            )
        return found

    def artifacts(self) -> list[Artifact]:
        """Return the files among the artifacts; one request for each folder."""
        found, folders = [], [""]
        while folders:
            with _failures(f"the artifacts of {self.run.id}"):
                listed = self._client.list_artifacts(self.run.id, folders.pop() or None)
            for entry in listed:
                if entry.is_dir:
                    folders.append(entry.path)
                else:
                    found.append(Artifact(entry.path, entry.file_size, None))
        return sorted(found)

    def fetch(self, model: Model | None, path: str, folder: str) -> str:
        """Download into the folder."""
        with _failures(path or (model.id if model else self.run.id)):
            root = f"models:/{model.id}" if model else f"runs:/{self.run.id}"
            uri = f"{root}/{path}" if path else root
            return str(self._mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder))

    def answers(self) -> bool:
        """Return whether the tracking server answers."""
        try:
            with contextlib.suppress(NotFound), _failures(f"the run {self.run.id}"):
                self._client.get_run(self.run.id)
        except ImportFailed:
            return False
        return True


def _package() -> Any:
    try:
        import mlflow
    except ImportError:
        raise InvalidInput(
            "MLflow's client is not installed: pip install 'kept[mlflow]'. The folder of a run, "
            "such as mlruns/EXPERIMENT/RUN, is read without it."
        ) from None
    return mlflow


@contextlib.contextmanager
def _failures(what: str) -> Iterator[None]:
    """Raise what the client raises as NotFound or ImportFailed."""
    try:
        yield
    except KeptError:
        raise
    except Exception as error:  # the client also raises the errors of its libraries
        text = " ".join(str(error).split()) or type(error).__name__
        if getattr(error, "error_code", None) == _MISSING:
            raise NotFound(f"MLflow does not have {what}: {text}") from error
        raise ImportFailed(f"MLflow did not send {what}: {text}") from error

"""What a run of MLflow has, whichever way it is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import NamedTuple


class Model(NamedTuple):
    """A model that a run logged by itself, as MLflow 3 does."""

    id: str
    name: str
    step: int | None
    created: int  # milliseconds since 1970
    metrics: dict[str, float]
    tags: dict[str, str]


class Artifact(NamedTuple):
    """A file among the artifacts of a run."""

    path: str  # below the artifacts, with / between its parts
    size: int | None
    modified: int | None  # milliseconds since 1970


@dataclass(frozen=True)
class Run:
    """The facts of a run."""

    id: str
    name: str
    ended: int  # milliseconds since 1970; of a run that has not ended, its start
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)  # the last value of each


class RunSource(ABC):
    """Reads a run."""

    run: Run

    @abstractmethod
    def models(self) -> list[Model]:
        """Return the models that MLflow 3 has logged; none for an earlier MLflow."""

    @abstractmethod
    def artifacts(self) -> list[Artifact]:
        """Return all files among the artifacts of the run."""

    @abstractmethod
    def fetch(self, model: Model | None, path: str, folder: str) -> str:
        """Return a path on this disk that has a model, or a path among the artifacts.

        folder is empty, and may be used. Raises ImportFailed.
        """

    def answers(self) -> bool:
        """Return whether the source answers."""
        return True


def own_tags(tags: dict[str, str]) -> dict[str, str]:
    """Return the tags of users, without those that MLflow sets."""
    return {name: value for name, value in tags.items() if not name.startswith("mlflow.")}

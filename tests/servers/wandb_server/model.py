"""What the server knows: projects, runs, collections of artifacts and their versions.

Invariant: a version is visible, with its number and its aliases, from the commit on and not
before; an alias names one version of its collection.
"""

from __future__ import annotations

import base64
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from tests.servers.wandb_server.executor import QueryError


class File(NamedTuple):
    """A file of a version, or a reference to bytes that lie elsewhere."""

    path: str
    digest: str  # as the client gave it
    size: int
    md5: str | None = None  # of the blob, in hex; None for a reference
    ref: str | None = None


@dataclass(eq=False)
class Run:
    id: str
    name: str
    project: Project
    fields: dict[str, Any] = field(default_factory=dict)  # displayName, config, …
    lines: dict[str, list[str]] = field(default_factory=dict)  # of the streamed files
    files: dict[str, str] = field(default_factory=dict)  # name -> md5
    state: str = "running"
    exit_code: int | None = None
    heartbeat: str | None = None  # set by tests
    used: list[Artifact] = field(default_factory=list)


@dataclass(eq=False)
class Artifact:
    id: str
    collection: Collection
    run: Run | None
    digest: str
    client_id: str | None = None
    wanted_aliases: list[str] = field(default_factory=list)
    metadata: str | None = None
    description: str | None = None
    ttl: int | None = None
    history_step: int | None = None
    announced: dict[str, str] = field(default_factory=dict)  # path -> md5 of what is uploaded
    manifest: str | None = None  # md5
    files: list[File] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    index: int | None = None  # from the commit on
    deleted: bool = False
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat())

    @property
    def state(self) -> str:
        if self.deleted:
            return "DELETED"
        return "PENDING" if self.index is None else "COMMITTED"

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def aliases(self) -> list[str]:
        return [name for name, artifact in self.collection.aliases.items() if artifact is self]


@dataclass(eq=False)
class Collection:
    id: str
    name: str
    type: str
    project: Project
    versions: list[Artifact] = field(default_factory=list)  # committed; also deleted ones
    aliases: dict[str, Artifact] = field(default_factory=dict)
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat())

    @property
    def live(self) -> list[Artifact]:
        return [artifact for artifact in self.versions if not artifact.deleted]

    def commit(self, artifact: Artifact) -> None:
        artifact.index = len(self.versions)
        self.versions.append(artifact)
        for alias in dict.fromkeys([*artifact.wanted_aliases, "latest"]):
            self.aliases[alias] = artifact

    def find(self, selector: str) -> Artifact | None:
        if selector in self.aliases:
            return self.aliases[selector]
        return next((a for a in self.live if f"v{a.index}" == selector), None)


@dataclass(eq=False)
class Project:
    entity: str
    name: str
    number: int
    runs: dict[str, Run] = field(default_factory=dict)
    deleted_runs: dict[str, Run] = field(default_factory=dict)  # their ids are never free again
    collections: dict[str, Collection] = field(default_factory=dict)


class Database:
    """All of it, in memory."""

    entity = "kept-team"  # of the one user there is

    def __init__(self) -> None:
        self.projects: dict[tuple[str, str], Project] = {}
        self.artifacts: dict[str, Artifact] = {}
        self._numbers = itertools.count(1)

    def new_id(self, kind: str) -> str:
        return base64.b64encode(f"{kind}:{next(self._numbers)}".encode()).decode()

    def project(self, entity: str | None, name: str | None) -> Project | None:
        return self.projects.get((entity or self.entity, name or "uncategorized"))

    def make_project(self, entity: str | None, name: str | None) -> Project:
        key = (entity or self.entity, name or "uncategorized")
        if key not in self.projects:
            self.projects[key] = Project(*key, next(self._numbers))
        return self.projects[key]

    def make_run(self, project: Project, name: str) -> Run:
        if name in project.deleted_runs:
            path = f"{project.entity}/{project.name}/{name}"
            gone = f"run {path} was previously created and deleted; try a new run name"
            raise QueryError(gone, HTTPStatus.CONFLICT)
        if name not in project.runs:
            project.runs[name] = Run(self.new_id("Run"), name, project)
        return project.runs[name]

    def make_collection(self, project: Project, name: str, type: str) -> Collection:
        if name not in project.collections:
            made = Collection(self.new_id("ArtifactSequence"), name, type, project)
            project.collections[name] = made
        found = project.collections[name]
        if found.type != type:
            raise QueryError(f"{name} has the type {found.type}, received {type}")
        return found

    def artifact(self, id: str) -> Artifact:
        if id not in self.artifacts:
            raise QueryError(f"no artifact {id!r}")
        return self.artifacts[id]

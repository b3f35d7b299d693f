"""What can be asked: nodes for the things in the database, and the root of queries."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.servers.wandb_server.blobs import Blobs
    from tests.servers.wandb_server.executor import Node
    from tests.servers.wandb_server.model import Artifact, Collection, Database, File, Project, Run

_PAGE = 50
# What SDKs up to 0.26 ask for before they use it.
_FIELDS = {
    "CreateArtifactInput": ["enableDigestDeduplication", "historyStep", "ttlDurationSeconds",
                            "tags", "clientID", "sequenceClientID"],
    "Query": ["viewer", "serverInfo", "project", "artifact", "model", "artifactCollection"],
    "Mutation": ["createArtifact", "updateArtifact", "addAliases", "deleteAliases"],
    "ServerInfo": ["cliVersionInfo", "features"],
    "Artifact": ["ttlDurationSeconds", "ttlIsInherited", "tags", "historyStep", "aliases"],
    "ArtifactCollectionMembership": ["versionIndex", "aliases", "files"],
    "ArtifactSequence": ["artifacts", "aliases"],
    "Project": ["artifactCollectionMembership", "artifact"],
}  # fmt: skip


class Queries:
    """Makes nodes; base_url is where the storage URLs begin."""

    def __init__(self, database: Database, blobs: Blobs, base_url: str) -> None:
        self._database, self._blobs, self._base_url = database, blobs, base_url

    def root(self) -> Node:
        database = self._database
        return {
            "viewer": self._viewer,
            "serverInfo": {"features": [], "cliVersionInfo": {"max_cli_version": "99.0.0"}},
            "entity": lambda **_: None,
            "project": lambda name=None, entityName=None: self.project(  # noqa: N803
                database.project(entityName, name)
            ),
            "model": lambda name=None, entityName=None: self.project(  # noqa: N803
                database.project(entityName, name)
            ),
            "artifact": lambda **given: self.artifact(database.artifacts.get(given["id"])),
            "__type": _introspected,
        }

    def _viewer(self) -> Node:
        return {
            "__typename": "User",
            "id": "VXNlcjox",
            "entity": self._database.entity,
            "username": "user",
            "name": "user",
            "email": "user@example.com",
            "flags": "{}",
            "admin": False,
            "teams": {"edges": [{"node": {"name": self._database.entity}}]},
        }

    def project(self, project: Project | None) -> Node | None:
        if project is None:
            return None
        return {
            "__typename": "Project",
            "id": base64.b64encode(f"Project:{project.number}".encode()).decode(),
            "internalId": str(project.number),
            "name": project.name,
            "entityName": project.entity,
            "entity": {"id": "RW50aXR5OjE=", "name": project.entity},
            "run": lambda name, **_: self.run(project.runs.get(name)),
            "bucket": lambda name, **_: self.run(project.runs.get(name)),
            "artifact": lambda name: self.artifact(_named(project, name)),
            "artifactType": lambda name, **_: self._type(project, name),
            "artifactTypes": lambda **page: _pages(
                sorted({c.type for c in project.collections.values()}),
                lambda name: self._type(project, name),
                **page,
            ),
            "artifactCollection": lambda name: self.collection(project.collections.get(name)),
            "artifactCollectionMembership": lambda name: self._membership(_named(project, name)),
        }

    def run(self, run: Run | None) -> Node | None:
        if run is None:
            return None
        config = json.loads(run.fields.get("config") or "{}")
        lines = {name: len(run.lines.get(f"wandb-{name}.jsonl", ())) for name in _STREAMS}
        made = [a for c in run.project.collections.values() for a in c.live if a.run is run]
        return {
            "__typename": "Run",
            "id": run.id,
            "name": run.name,
            "displayName": run.fields.get("displayName") or run.name,
            "description": run.fields.get("description"),
            "notes": run.fields.get("notes"),
            "group": run.fields.get("groupName"),
            "jobType": run.fields.get("jobType"),
            "tags": run.fields.get("tags") or [],
            "state": run.state,
            "config": run.fields.get("config"),
            "summaryMetrics": (run.lines.get("wandb-summary.json") or ["{}"])[-1],
            "sweepName": None,
            "project": self.project(run.project),
            "projectId": run.project.number,
            "readOnly": False,
            "user": {"name": "user", "username": "user"},
            "createdAt": "2026-01-01T00:00:00",
            "heartbeatAt": run.heartbeat,
            "historyLineCount": lines["history"],
            "eventsLineCount": lines["events"],
            "logLineCount": len(run.lines.get("output.log", ())),
            "historyTail": _tail(run, "wandb-history.jsonl"),
            "eventsTail": _tail(run, "wandb-events.jsonl"),
            "wandbConfig": lambda **_: json.dumps({"t": config.get("_wandb", {}).get("t", {})}),
            "outputArtifacts": lambda **page: _pages(made, self.artifact, **page),
            "inputArtifacts": lambda **page: _pages(run.used, self.artifact, **page),
        }

    def collection(self, collection: Collection | None) -> Node | None:
        if collection is None:
            return None
        return {
            "__typename": "ArtifactSequence",
            "id": collection.id,
            "name": collection.name,
            "description": None,
            "createdAt": collection.created,
            "updatedAt": collection.created,
            "project": lambda: self.project(collection.project),
            "defaultArtifactType": {"name": collection.type},
            "tags": {"edges": []},
            "latestArtifact": lambda: self.artifact(next(iter(collection.live[::-1]), None)),
            "aliases": lambda **page: _pages(list(collection.aliases), _alias, **page),
            "artifacts": lambda order=None, filters=None, **page: _pages(
                collection.live[::-1],
                self.artifact,
                lambda artifact: {"version": f"v{artifact.index}"},
                **page,
            ),
            "artifactMembership": lambda aliasName: self._membership(  # noqa: N803
                collection.find(aliasName)
            ),
        }

    def artifact(self, artifact: Artifact | None) -> Node | None:
        if artifact is None:
            return None
        place = lambda: self.collection(artifact.collection)  # noqa: E731
        return {
            "__typename": "Artifact",
            "id": artifact.id,
            "artifactSequence": place,
            "versionIndex": artifact.index,
            "artifactType": {"name": artifact.collection.type},
            "description": artifact.description,
            "metadata": artifact.metadata,
            "ttlDurationSeconds": artifact.ttl or 0,
            "ttlIsInherited": artifact.ttl is None,
            "tags": [{"__typename": "Tag", "id": name, "name": name} for name in artifact.tags],
            "historyStep": artifact.history_step,
            "state": artifact.state,
            "size": artifact.size,
            "digest": artifact.digest,
            "commitHash": "",
            "fileCount": len(artifact.files),
            "createdAt": artifact.created,
            "updatedAt": artifact.created,
            "aliases": [_alias(name) | {"artifactCollection": place} for name in artifact.aliases],
            "currentManifest": {"file": {"directUrl": lambda: self._url(artifact.manifest)}},
            "files": lambda **page: self._files(artifact, **page),
            "createdBy": lambda: self.run(artifact.run),
            "usedBy": lambda **_: {"edges": self._users(artifact)},
        }

    def _users(self, artifact: Artifact) -> list[Node]:
        runs = artifact.collection.project.runs.values()
        return [{"node": self.run(run)} for run in runs if artifact in run.used]

    def _membership(self, artifact: Artifact | None) -> Node | None:
        if artifact is None:
            return None
        return {
            "__typename": "ArtifactCollectionMembership",
            "id": f"{artifact.id}=",
            "versionIndex": artifact.index,
            "createdAt": artifact.created,
            "aliases": [_alias(name) for name in artifact.aliases],
            "artifactCollection": self.collection(artifact.collection),
            "artifact": self.artifact(artifact),
            "files": lambda **page: self._files(artifact, **page),
        }

    def _files(self, artifact: Artifact, fileNames: Any = None, **page: Any) -> Node:  # noqa: N803
        wanted = [f for f in artifact.files if fileNames is None or f.path in fileNames]
        return _pages(wanted, self._file, **page)

    def _file(self, file: File) -> Node:
        return {
            "__typename": "File",
            "id": base64.b64encode(file.path.encode()).decode(),
            "name": file.path,
            "sizeBytes": file.size,
            "md5": file.md5,
            "digest": file.digest,
            "directUrl": file.ref or self._url(file.md5),
            "url": file.ref or self._url(file.md5),
        }

    def _url(self, md5: str | None) -> str | None:
        return md5 and self._base_url + self._blobs.url_path("GET", md5)

    def _type(self, project: Project, name: str) -> Node | None:
        found = [c for c in project.collections.values() if c.type == name]
        if not found:
            return None
        by_name = {c.name: c for c in found}
        return {
            "__typename": "ArtifactType",
            "id": base64.b64encode(f"ArtifactType:{name}".encode()).decode(),
            "name": name,
            "description": None,
            "createdAt": found[0].created,
            "artifactCollection": lambda name: self.collection(by_name.get(name)),
            "artifactCollections": lambda **page: _pages(found, self.collection, **page),
        }


_STREAMS = ("history", "events")


def _alias(name: str) -> dict[str, Any]:
    return {"__typename": "ArtifactAlias", "id": f"alias-{name}", "alias": name}


def _tail(run: Run, name: str) -> str:
    return json.dumps(run.lines.get(name, [])[-1:])


def _named(project: Project, name: str) -> Artifact | None:
    collection, _, selector = name.partition(":")
    found = project.collections.get(collection)
    return found and found.find(selector or "latest")


def _pages(
    items: Sequence[Any],
    node: Callable[[Any], Any],
    beside: Callable[[Any], Node] | None = None,
    first: int | None = None,
    after: str | None = None,
    **_: Any,
) -> Node:
    """Return a connection: a page of items from the cursor on."""
    start = int(after or 0)
    end = start + (first or _PAGE)
    edges = [
        {"node": node(item), "cursor": str(start + n)} | dict(beside(item) if beside else {})
        for n, item in enumerate(items[start:end], 1)
    ]
    info = {"__typename": "PageInfo", "endCursor": str(end), "hasNextPage": end < len(items)}
    return {"totalCount": len(items), "pageInfo": info, "edges": edges}


def _introspected(name: str) -> Node:
    fields = [{"name": field, "args": []} for field in _FIELDS.get(name, [])]
    return {"name": name, "fields": fields, "inputFields": fields}

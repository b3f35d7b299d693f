"""What can be changed: the root of mutations. Each is done wholly or raises QueryError."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.servers.wandb_server.blobs import Blobs, hex_md5
from tests.servers.wandb_server.executor import Node, QueryError
from tests.servers.wandb_server.model import Artifact, Database, File

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.wandb_server.queries import Queries

Input = dict[str, Any]


class Mutations:
    """Changes the database; queries makes the answers, put_url the places to upload to."""

    def __init__(
        self, database: Database, blobs: Blobs, queries: Queries, put_url: Callable[[str], str]
    ) -> None:
        self._database, self._blobs, self._queries = database, blobs, queries
        self._put_url = put_url

    def root(self) -> Node:
        fields = {
            "upsertBucket": self._upsert_bucket,
            "createRunFiles": self._create_run_files,
            "createArtifact": self._create_artifact,
            "createArtifactManifest": self._create_manifest,
            "createArtifactFiles": self._create_files,
            "completeMultipartUploadArtifact": self._complete_multipart,
            "commitArtifact": self._commit,
            "updateArtifact": self._update,
            "addAliases": self._add_aliases,
            "deleteAliases": self._delete_aliases,
            "deleteArtifact": self._delete,
            "useArtifact": self._use,
        }
        return {name: _taking_input(method) for name, method in fields.items()}

    def _upsert_bucket(self, given: Input) -> Node:
        runs = [r for p in self._database.projects.values() for r in p.runs.values()]
        known = next((run for run in runs if run.id == given.get("id")), None)
        if known is not None:  # an update by its id leaves the state as it is
            if given.get("summaryMetrics") is not None:
                known.lines["wandb-summary.json"] = [given.pop("summaryMetrics")]
            known.fields |= {key: value for key, value in given.items() if value is not None}
            return {"bucket": self._queries.run(known), "inserted": False}
        project = self._database.make_project(given.get("entityName"), given.get("modelName"))
        name = given.get("name") or given["id"]
        inserted = name not in project.runs
        run = self._database.make_run(project, name)
        run.fields |= {key: value for key, value in given.items() if value is not None}
        run.state = given.get("state") or "running"
        return {"bucket": self._queries.run(run), "inserted": inserted}

    def _create_run_files(self, given: Input) -> Node:
        project = self._database.make_project(given.get("entityName"), given.get("projectName"))
        run = self._database.make_run(project, given["runName"])
        keys = {name: f"runs/{run.name}/{name}" for name in given["files"]}
        files = [{"name": name, "uploadUrl": self._put_url(key)} for name, key in keys.items()]
        return {"runID": run.id, "uploadHeaders": [], "files": files}

    def _create_artifact(self, given: Input) -> Node:
        project = self._database.make_project(given["entityName"], given["projectName"])
        collection = self._database.make_collection(
            project, given["artifactCollectionName"], given["artifactTypeName"]
        )
        run = project.runs.get(given.get("runName") or "")
        aliases = [alias["alias"] for alias in given.get("aliases") or []]
        same = next((a for a in collection.live[::-1] if a.digest == given["digest"]), None)
        if same is not None and given.get("enableDigestDeduplication"):
            for alias in aliases:
                if alias != "latest":  # that goes by age
                    collection.aliases[alias] = same
            return {"artifact": self._queries.artifact(same)}
        artifact = self._again(given) or Artifact(
            id=self._database.new_id("Artifact"),
            collection=collection,
            run=run,
            digest=given["digest"],
            client_id=given.get("clientID"),
        )
        artifact.wanted_aliases = aliases
        artifact.metadata = given.get("metadata")
        artifact.description = given.get("description")
        artifact.history_step = given.get("historyStep")
        artifact.ttl = given.get("ttlDurationSeconds")
        artifact.tags = [tag["tagName"] for tag in given.get("tags") or []]
        self._database.artifacts[artifact.id] = artifact
        return {"artifact": self._queries.artifact(artifact)}

    def _again(self, given: Input) -> Artifact | None:
        """Return the artifact that a first attempt at this call has made."""
        wanted = given.get("clientID")
        found = self._database.artifacts.values()
        return next((a for a in found if wanted and a.client_id == wanted), None)

    def _create_manifest(self, given: Input) -> Node:
        artifact = self._database.artifact(given["artifactID"])
        file: Input = {"id": f"{artifact.id}=", "uploadUrl": None, "uploadHeaders": []}
        if given["digest"]:
            md5 = artifact.manifest = hex_md5(given["digest"])
            file["uploadUrl"] = self._put_url(md5)
        return {"artifactManifest": {"id": f"{artifact.id}==", "file": file}}

    def _create_files(self, given: Input) -> Node:
        return {"files": {"edges": [{"node": self._new_file(f)} for f in given["artifactFiles"]]}}

    def _new_file(self, spec: Input) -> Node:
        artifact = self._database.artifact(spec["artifactID"])
        md5 = artifact.announced[spec["name"]] = hex_md5(spec["md5"])
        parts = spec.get("uploadPartsInput")
        there = md5 in self._blobs
        multipart = None
        if parts and not there:
            multipart = {
                "uploadID": md5,
                "uploadUrlParts": [
                    {"partNumber": part["partNumber"], "uploadUrl": self._put_url(part["hexMD5"])}
                    for part in parts
                ],
            }
        return {
            "name": spec["name"],
            "storagePath": f"storage/{md5}",
            "uploadUrl": None if there else self._put_url(md5),
            "uploadHeaders": [],
            "uploadMultipartUrls": multipart,
            "artifact": {"id": artifact.id},
        }

    def _complete_multipart(self, given: Input) -> Node:
        if given["completeMultipartAction"] != "Complete":
            raise QueryError(f"unknown action {given['completeMultipartAction']!r}")
        parts = sorted(given["completedParts"], key=lambda part: part["partNumber"])
        md5 = self._blobs.join([part["hexMD5"].strip('"') for part in parts])
        if md5 != given["uploadID"]:
            raise QueryError(f"The parts make a file of MD5 {md5}, announced {given['uploadID']}")
        return {"digest": md5}

    def _commit(self, given: Input) -> Node:
        artifact = self._database.artifact(given["artifactID"])
        if artifact.index is None:
            artifact.files = self._committed_files(artifact)
            artifact.collection.commit(artifact)
        return {"artifact": self._queries.artifact(artifact)}

    def _committed_files(self, artifact: Artifact) -> list[File]:
        """Read the manifest, and check that every byte that it speaks of is here."""
        wanted = {"the manifest": artifact.manifest, **artifact.announced}
        for name, md5 in wanted.items():
            if md5 is None or md5 not in self._blobs:
                raise QueryError(f"{name} was not uploaded")
        manifest = json.loads(self._blobs.path(str(artifact.manifest)).read_bytes())
        files = []
        for path, entry in manifest["contents"].items():
            size = entry.get("size") or 0
            if "ref" in entry:
                files.append(File(path, entry["digest"], size, ref=entry["ref"]))
            else:
                md5 = hex_md5(entry["digest"])
                if md5 not in self._blobs:
                    raise QueryError(f"{path} was not uploaded")
                files.append(File(path, entry["digest"], self._blobs.size(md5), md5))
        return files

    def _update(self, given: Input) -> Node:
        artifact = self._database.artifact(given["artifactID"])
        for key in ("description", "metadata"):
            if given.get(key) is not None:
                setattr(artifact, key, given[key])
        if given.get("ttlDurationSeconds") is not None:
            artifact.ttl = given["ttlDurationSeconds"]
        return {"artifact": self._queries.artifact(artifact)}

    def _add_aliases(self, given: Input) -> Node:
        artifact = self._database.artifact(given["artifactID"])
        for alias in given["aliases"]:
            artifact.collection.aliases[alias["alias"]] = artifact
        return {"success": True}

    def _delete_aliases(self, given: Input) -> Node:
        artifact = self._database.artifact(given["artifactID"])
        for alias in given["aliases"]:
            if artifact.collection.aliases.get(alias["alias"]) is artifact:
                del artifact.collection.aliases[alias["alias"]]
        return {"success": True}

    def _delete(self, given: Input) -> Node:
        artifact = self._database.artifact(given["artifactID"])
        if artifact.aliases and not given.get("deleteAliases"):
            raise QueryError("cannot delete an artifact that has aliases")
        for alias in artifact.aliases:
            del artifact.collection.aliases[alias]
        artifact.deleted = True
        if artifact.collection.live:
            artifact.collection.aliases.setdefault("latest", artifact.collection.live[-1])
        return {"artifact": {"id": artifact.id}}

    def _use(self, given: Input) -> Node:
        artifact = self._database.artifact(given["artifactID"])
        project = self._database.project(given["entityName"], given["projectName"])
        run = project and project.runs.get(given["runName"])
        if run and artifact not in run.used:
            run.used.append(artifact)
        return {"artifact": self._queries.artifact(artifact)}


def _taking_input(method: Callable[[Input], Node]) -> Callable[..., Node]:
    return lambda **arguments: method(arguments["input"])

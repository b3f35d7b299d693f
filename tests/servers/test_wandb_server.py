"""The W&B server itself, spoken to as the SDK speaks to it."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest

from tests.servers.wandb_server import WandbServer
from tests.servers.wandb_server.executor import Execution, QueryError
from tests.servers.wandb_server.server import API_KEY


@pytest.fixture
def server():
    with WandbServer() as server:
        yield server


class Client:
    """GraphQL and storage, by hand."""

    def __init__(self, server):
        self.server = server

    def post(self, query, key=API_KEY, **variables):
        authorization = "Basic " + base64.b64encode(f"api:{key}".encode()).decode()
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"{self.server.url}/graphql", body, {"Authorization": authorization}
        )
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return {"status": error.code} | json.load(error)

    def mutate(self, field, answer, **input):
        query = f"mutation M($input: I!) {{ {field}(input: $input) {answer} }}"
        answer = self.post(query, input=input)
        return answer["data"][field] if answer.get("data") else answer["errors"][0]["message"]

    def put(self, url, data, **headers):
        request = urllib.request.Request(url, data, headers, method="PUT")
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.headers.get("ETag")
        except urllib.error.HTTPError as error:
            return error.code, None

    def begin(self, name="m", digest="d", aliases=("e0",), **more):
        made = self.mutate(
            "createArtifact",
            "{ artifact { id state } }",
            entityName="e",
            projectName="p",
            artifactTypeName="model",
            artifactCollectionName=name,
            digest=digest,
            aliases=[{"alias": alias} for alias in aliases],
            enableDigestDeduplication=True,
            **more,
        )
        return SimpleNamespace(**made["artifact"])

    def file(self, artifact, data, name="f", **more):
        spec = {"artifactID": artifact.id, "name": name, "md5": md5(data), **more}
        answer = "{ files { edges { node { uploadUrl uploadMultipartUrls { uploadID uploadUrlParts"
        answer += " { partNumber uploadUrl } } } } } }"
        made = self.mutate("createArtifactFiles", answer, artifactFiles=[spec])
        return made["files"]["edges"][0]["node"]

    def manifest(self, artifact, files):
        contents = {name: {"digest": md5(data), "size": len(data)} for name, data in files.items()}
        data = json.dumps({"version": 1, "contents": contents}).encode()
        made = self.mutate(
            "createArtifactManifest",
            "{ artifactManifest { file { uploadUrl } } }",
            artifactID=artifact.id,
            digest=md5(data),
        )
        return self.put(made["artifactManifest"]["file"]["uploadUrl"], data)

    def commit(self, artifact):
        return self.mutate("commitArtifact", "{ artifact { id } }", artifactID=artifact.id)

    def log(self, data, **options):
        artifact = self.begin(digest=md5(data), **options)
        if artifact.state == "PENDING":
            url = self.file(artifact, data)["uploadUrl"]
            if url:
                self.put(url, data)
            self.manifest(artifact, {"f": data})
            self.commit(artifact)
        return artifact


def md5(data):
    return base64.b64encode(hashlib.md5(data).digest()).decode()


@pytest.fixture
def client(server):
    return Client(server)


def run(text, root, **variables):
    return Execution(text, variables).run(root)


def test_the_executor_walks_fragments_aliases_arguments_and_directives():
    root = {
        "a": lambda **given: [{"__typename": "ArtifactSequence", "x": given, "y": 2, "z": 3}],
        "n": {"__typename": "Other", "x": 1},
    }
    text = """
    query Q($v: Int = 5, $with: Boolean!) {
      first: a(n: $v, l: [1, {k: true}], s: "t", e: ENUM, none: null) { ...F ... { y } }
      n { ...F x @include(if: $with) ... on Wrong { x } missing }
    }
    fragment F on ArtifactCollection { x z @skip(if: $with) }
    """
    given = {"n": 5, "l": [1, {"k": True}], "s": "t", "e": "ENUM", "none": None}
    assert run(text, root, **{"with": False}) == {
        "first": [{"x": given, "y": 2, "z": 3}],
        "n": {"missing": None},
    }
    assert run(text, root, **{"with": True, "v": 1})["first"][0]["x"]["n"] == 1
    assert run(text, root, **{"with": True})["n"] == {"x": 1, "missing": None}


def test_unknown_fields_are_null_and_unknown_mutations_are_errors(client):
    assert run("{ nonsense { deeper } }", {}) == {"nonsense": None}
    with pytest.raises(QueryError, match="'linkArtifact' on type 'Mutation'"):
        run("mutation { linkArtifact(input: {}) { id } }", {"other": None})
    assert "linkArtifact" in client.mutate("linkArtifact", "{ id }", artifactID="x")
    assert client.post("{ not graphql")["status"] == 400
    assert client.post("{ viewer { entity } }")["data"] == {"viewer": {"entity": "kept-team"}}
    assert client.post("{ viewer { entity } }", key="wrong" * 8)["status"] == 401


def test_a_version_is_there_from_its_commit_on(server, client):
    artifact = client.begin()
    assert artifact.state == "PENDING"
    assert server.versions("m") == []
    url = client.file(artifact, b"bytes")["uploadUrl"]
    assert "not uploaded" in client.commit(artifact)
    assert client.put(url, b"bytes")[0] == 200
    assert "not uploaded" in client.commit(artifact), "the manifest is missing"
    client.manifest(artifact, {"f": b"bytes"})
    client.commit(artifact)
    client.commit(artifact)
    [version] = server.versions("m")
    assert server.content(version) == {"f": b"bytes"}
    assert (version.index, version.aliases) == (0, ["e0", "latest"])


def test_what_is_uploaded_is_checked(server, client):
    artifact = client.begin()
    url = client.file(artifact, b"bytes")["uploadUrl"]
    assert client.put(url, b"other")[0] == 400
    assert client.put(url.replace("signature=", "signature=0"), b"bytes")[0] == 403
    assert client.put(url.replace(hashlib.md5(b"bytes").hexdigest(), "0" * 32), b"")[0] == 403
    assert client.put(url, b"bytes", **{"Content-MD5": md5(b"other")})[0] == 400
    assert list(server.blobs.path("").iterdir()) == []
    client.manifest(artifact, {"f": b"other"})
    assert "not uploaded" in client.commit(artifact)


def test_what_is_there_is_not_uploaded_again(server, client):
    client.log(b"one")
    second = client.begin(digest="other")
    assert client.file(second, b"one")["uploadUrl"] is None
    assert client.log(b"one", aliases=["again"]).state == "COMMITTED"
    [version] = server.versions("m")
    assert set(version.aliases) == {"e0", "again", "latest"}


def test_a_call_that_is_repeated_makes_one_artifact(client):
    assert client.begin(clientID="c").id == client.begin(clientID="c").id
    assert client.begin(clientID="d").id != client.begin(clientID="c").id


def test_large_files_come_in_parts(server, client):
    parts = [b"a" * 1000, b"b" * 1000, b"c"]
    whole = b"".join(parts)
    artifact = client.begin()
    given = [
        {"partNumber": n, "hexMD5": hashlib.md5(part).hexdigest()}
        for n, part in enumerate(parts, 1)
    ]
    made = client.file(artifact, whole, uploadPartsInput=given)["uploadMultipartUrls"]
    completed = []
    for url, part in zip(made["uploadUrlParts"], parts, strict=True):
        status, etag = client.put(url["uploadUrl"], part, **{"Content-MD5": md5(part)})
        assert status == 200
        completed.append({"partNumber": url["partNumber"], "hexMD5": etag})  # quotes and all
    client.mutate(
        "completeMultipartUploadArtifact",
        "{ digest }",
        completeMultipartAction="Complete",
        completedParts=completed[::-1],
        artifactID=artifact.id,
        storagePath="",
        uploadID=made["uploadID"],
    )
    client.manifest(artifact, {"f": whole})
    client.commit(artifact)
    assert server.content(server.versions("m")[0]) == {"f": whole}


def test_the_list_of_versions_comes_in_pages(server, client):
    for n in range(5):
        client.log(b"%d" % n, aliases=[f"e{n}"])
    query = """query Q($after: String) { project(name: "p", entityName: "e") {
      artifactType(name: "model") { artifactCollection(name: "m") {
        artifacts(first: 2, after: $after) {
          totalCount pageInfo { endCursor hasNextPage }
          edges { version node { versionIndex } } } } } } }"""
    seen, after, more = [], None, True
    while more:
        data = client.post(query, after=after)["data"]["project"]
        page = data["artifactType"]["artifactCollection"]["artifacts"]
        assert page["totalCount"] == 5
        seen += [edge["version"] for edge in page["edges"]]
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert seen == ["v4", "v3", "v2", "v1", "v0"]


def test_numbers_are_not_used_again(server, client):
    client.log(b"0")
    second = client.log(b"1", aliases=["best"])
    assert "has aliases" in client.mutate("deleteArtifact", "{ x }", artifactID=second.id)
    client.mutate("deleteArtifact", "{ x }", artifactID=second.id, deleteAliases=True)
    client.log(b"2")
    assert [v.index for v in server.versions("m")] == [0, 2]
    assert server.versions("m")[-1].aliases == ["e0", "latest"]


@pytest.mark.parametrize(("fault", "is_done"), [("away", False), ("503", False), ("drop", True)])
def test_faults(server, client, fault, is_done):
    artifact = client.begin()
    url = client.file(artifact, b"bytes")["uploadUrl"]
    server.faults.fault = lambda name: fault if name == "upload" else None
    try:
        assert client.put(url, b"bytes")[0] == 503
    except (urllib.error.URLError, ConnectionError, http.client.HTTPException):
        assert fault != "503"
    assert (hashlib.md5(b"bytes").hexdigest() in server.blobs) == is_done
    server.faults.fault = lambda name: None
    assert client.put(url, b"bytes")[0] == 200


def test_away_and_back_at_the_same_place(server, client):
    url = server.url
    client.log(b"0")
    server.stop()
    with pytest.raises(urllib.error.URLError):
        client.post("{ viewer { id } }")
    server.start()
    assert server.url == url
    assert [v.index for v in server.versions("m")] == [0]


@pytest.mark.integration
@pytest.mark.timeout(280)
def test_a_file_of_more_than_2_gib_from_the_sdk(wandb_server, tmp_path):
    """The SDK sends such a one in parts."""
    import wandb

    path = tmp_path / "large"
    with path.open("wb") as file:
        file.write(os.urandom(1000))
        file.truncate(2**31 + 50 * 2**20)
    run = wandb.init(project="p")
    artifact = wandb.Artifact("large", type="model")
    artifact.add_file(str(path), policy="immutable", skip_cache=True)
    run.log_artifact(artifact)
    artifact.wait()
    wandb.finish()
    assert wandb_server.faults.calls.count("upload") > 20
    [version] = wandb_server.versions("large")
    assert version.size == path.stat().st_size

"""The HTTP side: GraphQL, the stream of a run's lines, and storage."""

from __future__ import annotations

import base64
import gzip
import json
import sys
import traceback
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from tests.servers.wandb_server.blobs import BadDigest, Blobs, hex_md5
from tests.servers.wandb_server.executor import Execution, QueryError
from tests.servers.wandb_server.mutations import Mutations
from tests.servers.wandb_server.queries import Queries

if TYPE_CHECKING:
    from tests.servers.wandb_server.faults import Faults
    from tests.servers.wandb_server.model import Database

_RULES = Map(
    [
        Rule("/graphql", endpoint="graphql", methods=["POST"]),
        Rule(
            "/files/<entity>/<project>/<run>/file_stream",
            endpoint="file_stream",
            methods=["POST"],
        ),
        Rule("/storage/<path:key>", endpoint="storage", methods=["PUT", "GET"]),
    ]
)


class App:
    """The WSGI application."""

    def __init__(self, database: Database, blobs: Blobs, faults: Faults, api_key: str) -> None:
        self._database, self._blobs, self._faults = database, blobs, faults
        self._authorization = "Basic " + base64.b64encode(f"api:{api_key}".encode()).decode()
        self._lock = faults.lock  # of the database

    def __call__(self, environ: Any, start_response: Any) -> Any:
        request = Request(environ)
        try:
            response = self._answer(request)
        except HTTPException as error:
            response = error
        except Exception:  # noqa: BLE001 - 500 would be tried again for minutes
            response = Response(traceback.format_exc(), 400)
            sys.stderr.write(traceback.format_exc())
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        endpoint, arguments = _RULES.bind_to_environ(request.environ).match()
        if endpoint != "storage" and request.headers.get("Authorization") != self._authorization:
            call = self._faults.begin(request, "unauthorized")
            error = {"message": "user is not logged in"}
            return _json({"errors": [error]}, call.refusal or 401)
        return getattr(self, f"_{endpoint}")(request, **arguments)

    def _graphql(self, request: Request) -> Response:
        asked = json.loads(request.get_data())
        try:
            execution = Execution(
                asked["query"], asked.get("variables") or {}, asked.get("operationName") or None
            )
            call = self._faults.begin(request, execution.fields[0])
            if call.refusal:
                return _json({"errors": [{"message": "injected"}]}, call.refusal)
            with self._lock:
                data = execution.run(self._root(request, execution))
        except QueryError as error:
            return _json({"errors": [{"message": str(error)}], "data": None}, error.status)
        call.end()
        return _json({"data": data})

    def _root(self, request: Request, execution: Execution) -> Any:
        base_url = request.host_url.rstrip("/")
        queries = Queries(self._database, self._blobs, base_url)
        if not execution.is_mutation:
            return queries.root()
        put_url = lambda key: base_url + self._blobs.url_path("PUT", key)  # noqa: E731
        return Mutations(self._database, self._blobs, queries, put_url).root()

    def _file_stream(self, request: Request, entity: str, project: str, run: str) -> Response:
        call = self._faults.begin(request, "file_stream")
        if call.refusal:
            return _json({}, call.refusal)
        body = request.get_data()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        sent = json.loads(body)
        with self._lock:
            found = self._database.make_run(self._database.make_project(entity, project), run)
            for name, chunk in (sent.get("files") or {}).items():
                lines = found.lines.setdefault(name, [])
                lines[chunk["offset"] :] = chunk["content"]
            if sent.get("complete"):
                found.exit_code = sent.get("exitcode") or 0
                found.state = "failed" if found.exit_code else "finished"
        call.end()
        return _json({"exitcode": None, "limits": {}})

    def _storage(self, request: Request, key: str) -> Response:
        if not self._blobs.permits(request.method, key, request.args.get("signature", "")):
            return Response("wrong signature", 403)
        if request.method == "GET":
            return self._download(request, key)
        call = self._faults.begin(request, "upload")
        if call.refusal:
            return Response("injected", call.refusal)
        if key.startswith("runs/"):  # wandb-metadata.json and the like: taken, not kept
            request.get_data()
            return Response("")
        try:
            self._check_header(request, key)
            self._blobs.receive(request.stream, key, call.received)
        except BadDigest as error:
            return Response(str(error), 400)
        call.end()
        return Response("", headers={"ETag": f'"{key}"'})

    @staticmethod
    def _check_header(request: Request, md5: str) -> None:
        announced = request.headers.get("Content-MD5")
        if announced and hex_md5(announced) != md5:
            raise BadDigest(f"Content-MD5 is {announced}, the URL is for {md5}")

    def _download(self, request: Request, key: str) -> Response:
        call = self._faults.begin(request, "download")
        if call.refusal:
            return Response("injected", call.refusal)
        if key not in self._blobs:
            raise NotFound
        size = self._blobs.size(key)
        response = Response(self._blobs.path(key).open("rb"), direct_passthrough=True)
        response.content_length = size
        return response.make_conditional(request, accept_ranges=True, complete_length=size)


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value), status, content_type="application/json")

"""The server as tests hold it."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path
from typing import Self

from werkzeug.serving import WSGIRequestHandler, make_server

from tests.servers.wandb_server.app import App
from tests.servers.wandb_server.blobs import Blobs
from tests.servers.wandb_server.faults import Broken, Faults
from tests.servers.wandb_server.model import Artifact, Collection, Database, Run

API_KEY = "fake" * 10


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or an answer with a body takes 40 ms

    def log_request(self, *_) -> None:
        pass

    def run_wsgi(self) -> None:
        try:
            super().run_wsgi()
        except (Broken, ConnectionError):
            self.close_connection = True


class WandbServer:
    """Runs in threads of this process; what it knows survives stop and start."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="wandb-server-"))
        self.database = Database()
        self.blobs = Blobs(self._folder)
        self.faults = Faults()
        self._port = 0
        self._server = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """What makes the SDK use this server, and nothing else."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": API_KEY}

    def reset(self) -> None:
        """Forget everything."""
        self.database.projects.clear()
        self.database.artifacts.clear()
        self.faults.calls.clear()

    def start(self) -> None:
        """Listen, where it has listened before."""
        if self._server is not None:
            return
        app = App(self.database, self.blobs, self.faults, API_KEY)
        self._server = make_server(
            "127.0.0.1", self._port, app, threaded=True, request_handler=_Handler
        )
        self._server.daemon_threads = True
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections, until start is called."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def run(self, name: str) -> Run:
        """Return the run of that id."""
        [run] = [p.runs[name] for p in self.database.projects.values() if name in p.runs]
        return run

    def delete_run(self, name: str) -> None:
        """Delete a run as a user of the site does; the versions of its artifacts stay."""
        project = self.run(name).project
        project.deleted_runs[name] = project.runs.pop(name)

    def undelete_run(self, name: str) -> None:
        """Take a deletion back."""
        for project in self.database.projects.values():
            if name in project.deleted_runs:
                project.runs[name] = project.deleted_runs.pop(name)

    def collection(self, name: str) -> Collection:
        """Return the artifact of that name."""
        found = [c for p in self.database.projects.values() for c in p.collections.values()]
        [collection] = [c for c in found if c.name == name]
        return collection

    def versions(self, name: str) -> list[Artifact]:
        """Return the versions of an artifact, oldest first; none if there is no such artifact."""
        found = [c for p in self.database.projects.values() for c in p.collections.values()]
        return [artifact for c in found if c.name == name for artifact in c.live]

    def content(self, artifact: Artifact) -> dict[str, bytes]:
        """Return the bytes of a version's files."""
        return {f.path: self.blobs.path(f.md5).read_bytes() for f in artifact.files if f.md5}

"""What W&B has of an artifact: its versions, and their files."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kept.errors import ImportFailed, InvalidInput, KeptError, NotFound
from kept.sync.wandb import sdk

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS = 30  # that a request may take
_PATH = re.compile(r"(?:([^/:\s]+)/)?([^/:\s]+)/([^/:\s]+)")
# The SDK's texts for a missing artifact or project; it has no error class for that.
_NOT_FOUND = re.compile(
    r"not found|could not find|does not exist|Unable to parse 'Artifacts' response", re.IGNORECASE
)


@dataclass(frozen=True)
class Logged:
    """A version of an artifact of W&B."""

    path: str  # entity/project/artifact
    version: str  # "v3"
    type: str
    aliases: tuple[str, ...]  # without latest
    tags: tuple[str, ...]
    description: str | None
    metadata: dict[str, Any]
    created_at: str
    digest: str
    size: int
    server: str
    handle: Any  # of the SDK

    def download(self, folder: str) -> None:
        """Fetch the files into a folder, and check them; raises ImportFailed.

        The SDK compares no checksum while it downloads.
        """
        with _failures(f"{self.path}:{self.version}"):
            self.handle.download(root=folder, skip_cache=True)
            self.handle.verify(root=folder)

    def server_answers(self) -> bool:
        """Return whether the server answers, also if it has lost the version."""
        try:
            with contextlib.suppress(NotFound), _failures(self.path):
                sdk.package().Api(timeout=_SECONDS).artifact(f"{self.path}:{self.version}")
        except ImportFailed:
            return False
        return True


def history(path: str) -> list[Logged]:
    """Return the versions that W&B has of ENTITY/PROJECT/ARTIFACT, the oldest first.

    Without ENTITY, the user's default counts. Raises InvalidInput for another path or without the
    SDK, NotFound, or ImportFailed.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise InvalidInput(
            f"An artifact of W&B is ENTITY/PROJECT/ARTIFACT, without a version. Received: {path!r}"
        )
    wandb = sdk.package()
    with _failures(path):
        api = wandb.Api(timeout=_SECONDS)
        full = "/".join([match[1] or str(api.default_entity), match[2], match[3]])
        server = str(api.settings["base_url"]).rstrip("/")
        kind = str(api.artifact(f"{full}:latest").type)
        found = [_logged(version, full, server) for version in api.artifacts(kind, full)]
    return sorted(found, key=lambda logged: int(logged.version.removeprefix("v")))


def _logged(version: Any, path: str, server: str) -> Logged:
    return Logged(
        path=path,
        version=str(version.version),
        type=str(version.type),
        aliases=tuple(alias for alias in version.aliases if alias != "latest"),
        tags=tuple(version.tags or ()),
        description=version.description or None,
        metadata=dict(version.metadata or {}),
        created_at=str(version.created_at),
        digest=str(version.digest),
        size=int(version.size or 0),
        server=server,
        handle=version,
    )


@contextlib.contextmanager
def _failures(what: str) -> Iterator[None]:
    """Raise what the SDK raises as NotFound or ImportFailed."""
    try:
        yield
    except KeptError:
        raise
    except Exception as error:  # the SDK also raises the errors of its libraries
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, (ValueError, _comm_error())) and _NOT_FOUND.search(text):
            raise NotFound(f"W&B has no artifact {what}: {text}") from error
        raise ImportFailed(f"W&B did not send {what}: {text}") from error


def _comm_error() -> type[Exception]:
    kind: type[Exception] = sdk.package().errors.CommError
    return kind

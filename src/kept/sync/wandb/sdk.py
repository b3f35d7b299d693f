"""W&B, as far as kept speaks to it: the one module that imports wandb.

Every figure and trap named here was observed with wandb 0.31 and 0.19.11:

* add_file copies the file to a staging folder and again to a cache unless it is told that the file
  stays as it is (policy="immutable", skip_cache=True). So the file must stay until the commit.
* log_artifact asks the server first, and blocks for 19 s if it is away.
* Artifact.wait with a timeout that runs out forgets the upload for good; so it is called without.
* An upload whose retries are exhausted, or whose process is killed, is lost without an error; only
  wait raises.
* An artifact of the same content as an earlier one makes no version, and keeps that one's metadata.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from kept.errors import InvalidInput, KeptError, NoActiveRun, Refused, RunEnded, UploadFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kept.store.encoding import Json
    from kept.sync.outbox.outbox import Entry

_Result = TypeVar("_Result")
_OLDEST = "0.19.11"  # that the tests are run with; pyproject.toml asks for it, too
_BEST_SECONDS = 20.0
_WRITE_ID = "write_id"  # in the metadata of a version
# What the SDK says where there is no such artifact; it has no error of its own for that.
_NOTHING_THERE = re.compile(r"not found in|Unable to parse 'Artifacts' response")
# After all retries; or an answer that speaks of the server, the user or the pace.
_MAY_PASS = re.compile(r"giving up after \d+ attempt|(HTTP|error) (401|407|408|429|5\d\d)\b")


@dataclass(frozen=True, slots=True)
class Place:
    """A run of W&B."""

    base_url: str
    entity: str  # "" where it is not known yet, as in offline mode: the user's default
    project: str
    run: str

    @property
    def destination(self) -> str:
        """The run's name in an outbox; without the entity, which an offline run does not know."""
        return f"wandb:{self.base_url}/{self.project}/{self.run}"

    @property
    def label(self) -> str:
        """What the user knows the run as."""
        return "/".join(filter(None, (self.entity, self.project, self.run)))

    def as_json(self) -> dict[str, Json]:
        """Return what from_json takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Place:
        """Read what as_json has returned."""
        return cls(**{name: str(value[name]) for name in cls.__slots__})


def active_run() -> Any:
    """Return the run of wandb.init; raises NoActiveRun, or InvalidInput without the SDK."""
    run = _wandb().run
    if run is None:
        raise NoActiveRun(
            "There is no W&B run. Call wandb.init() before training, or use kept.ModelCheckpoint, "
            "which keeps checkpoints without W&B."
        )
    return run


def place_of(run: Any) -> Place | None:
    """Return where a run's artifacts go, or None for one that is disabled."""
    if run.disabled:
        return None
    base_url = str(run.settings.base_url).rstrip("/")
    return Place(base_url, run.entity or "", run.project or "uncategorized", str(run.id))


def log(run: Any, entry: Entry, aliases: list[str]) -> None:
    """Log an entry as a version of an artifact, and wait until W&B has it.

    It hashes the files and blocks as long as it takes, so not for a training thread. Raises
    RunEnded, Refused for what the SDK does not take, or what wandb raises otherwise; then nobody
    knows whether the version is there, see known.
    """
    try:
        artifact = _artifact(entry)
        run.log_artifact(artifact, aliases=aliases)
    except _wandb().errors.UsageError as error:
        raise RunEnded(str(error)) from None
    except (ValueError, TypeError) as error:  # a name, a type, metadata: not sent
        raise Refused(f"W&B does not take it: {error}") from error
    artifact.wait()
    _settle_aliases(artifact, aliases)


def may_pass(error: BaseException) -> bool:
    """Return whether W&B has ended an upload for a reason that says nothing of the upload itself.

    The SDK gives the reason as a text only.
    """
    return _MAY_PASS.search(str(error)) is not None


def _artifact(entry: Entry) -> Any:
    content = entry.content
    artifact = _wandb().Artifact(
        entry.artifact,
        type=content["type"],
        description=content["description"],
        metadata=content["metadata"] | {_WRITE_ID: entry.write_id},
    )
    for file in entry.files:
        artifact.add_file(file.file, name=file.path, policy="immutable", skip_cache=True)
    for path, uri in content["references"].items():
        artifact.add_reference(uri, name=path, checksum=False)
    if content["ttl_seconds"] is not None:
        artifact.ttl = timedelta(seconds=content["ttl_seconds"])
    return artifact


def known(place: Place, artifact: str, type: str) -> set[str]:
    """Return the write_ids of the versions that the server has of an artifact.

    Raises UploadFailed if it cannot be asked. (Not so Api.artifact_collection_exists: to it, what
    cannot be asked is not there, and would be sent a second time.)
    """
    with _failing_as_kept():
        api = _wandb().Api(overrides={"base_url": place.base_url})
        try:
            found = [
                version.metadata for version in api.artifacts(type, _path(api, place, artifact))
            ]
        except ValueError as error:
            if _NOTHING_THERE.search(str(error)):
                return set()
            raise
    return {metadata[_WRITE_ID] for metadata in found if _WRITE_ID in metadata}


def best(place: Place, artifact: str) -> dict[str, Any] | None:
    """Return the metadata of the version that has the alias best, None if none has it.

    Raises UploadFailed if the server does not tell, for a while.
    """
    wandb = _wandb()

    def ask() -> dict[str, Any] | None:
        api = wandb.Api(overrides={"base_url": place.base_url})
        try:
            return dict(api.artifact(f"{_path(api, place, artifact)}:best").metadata)
        except (ValueError, wandb.errors.CommError) as error:
            if _NOTHING_THERE.search(str(error)):
                return None
            raise

    with _failing_as_kept():
        return _within(_BEST_SECONDS, ask)


def _path(api: Any, place: Place, artifact: str) -> str:
    return f"{place.entity or api.default_entity}/{place.project}/{artifact}"


def _within(seconds: float, call: Callable[[], _Result]) -> _Result:
    """Call, and give up waiting after a while: the SDK tries for as long as it likes."""
    came: Future[_Result] = Future()

    def work() -> None:
        try:
            came.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised by result
            came.set_exception(error)

    threading.Thread(target=work, name="kept-wandb", daemon=True).start()
    return came.result(seconds)


@contextlib.contextmanager
def resumed(place: Place) -> Iterator[Any]:
    """Yield the run of an earlier process, for logging artifacts to it and nothing else.

    It ends in the state in which it was; one that was never ended has failed. A run that the
    server does not know yet, since it was offline, is made. Raises UploadFailed.
    """
    wandb = _wandb()
    quiet = wandb.Settings(
        base_url=place.base_url,
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_disable_meta=True,
    )
    with _folder_for_traces() as folder:
        with _failing_as_kept():
            succeeded = _state(place) in (None, "finished")
            run = wandb.init(
                id=place.run,
                project=place.project,
                entity=place.entity or None,
                dir=folder,
                mode="online",
                resume="allow",
                settings=quiet,
            )
        try:
            yield run
        finally:
            run.finish(exit_code=0 if succeeded else 1)


def _state(place: Place) -> str | None:
    """Return the state of a run, or None where the server does not know it."""
    wandb = _wandb()
    api = wandb.Api(overrides={"base_url": place.base_url})
    path = f"{place.entity or api.default_entity}/{place.project}/{place.run}"
    try:
        return str(api.run(path).state)
    except (ValueError, wandb.errors.CommError) as error:
        if "not find" in str(error) or "not found" in str(error):
            return None
        raise


def _settle_aliases(artifact: Any, aliases: list[str]) -> None:
    """Set the aliases that a version of the same content as an earlier one did not bring along."""
    missing = [alias for alias in aliases if alias not in (*artifact.aliases, "latest")]
    if missing:
        artifact.aliases.extend(missing)
        artifact.save()


@contextlib.contextmanager
def _folder_for_traces() -> Iterator[str]:
    """Yield a folder in which wandb leaves what nobody needs of a run: it looks in WANDB_DIR."""
    before = os.environ.get("WANDB_DIR")
    with tempfile.TemporaryDirectory(prefix="kept-wandb-") as folder:
        os.environ["WANDB_DIR"] = folder
        try:
            yield folder
        finally:
            if before is None:
                del os.environ["WANDB_DIR"]
            else:
                os.environ["WANDB_DIR"] = before


@contextlib.contextmanager
def _failing_as_kept() -> Iterator[None]:
    try:
        yield
    except KeptError:
        raise
    except Exception as error:  # of the SDK, which passes on what its libraries raise
        raise UploadFailed(f"W&B: {error or type(error).__name__}") from error


def _wandb() -> Any:
    """Return the SDK; raises InvalidInput without one that is new enough."""
    try:
        import wandb
    except ImportError:
        raise InvalidInput(
            "W&B's SDK is not installed: pip install 'kept[wandb]'. kept.ModelCheckpoint keeps "
            "checkpoints without it."
        ) from None
    if _numbers(wandb.__version__) < _numbers(_OLDEST):
        raise InvalidInput(
            f"W&B's SDK is too old for kept.WandbModelCheckpoint, which needs {_OLDEST}: "
            "pip install -U wandb. kept.ModelCheckpoint keeps checkpoints without it. "
            f"Received: wandb {wandb.__version__}"
        )
    return wandb


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]

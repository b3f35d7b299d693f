"""All calls of W&B: the one module that imports wandb.

These facts were observed with wandb 0.31 and 0.19.11:

* add_file copies the file to a staging folder and again to a cache, except with policy="immutable"
  and skip_cache=True. With these the file must not change until the commit.
* log_artifact asks the server first, and blocks for 19 s if it does not answer.
* If the timeout of Artifact.wait expires, wandb forgets the upload. So kept passes no timeout.
* An upload whose retries are exhausted, or whose process is killed, is lost without an error; only
  wait raises.
* An artifact with the same content as an earlier one makes no version, and keeps the old metadata.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidInput, KeptError, NoActiveRun, Refused, RunEnded, UploadFailed
from kept.store.metadata import SAVED_AT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kept.store.encoding import Json
    from kept.sync.outbox.entry import Entry

_OLDEST = "0.19.11"  # the oldest tested version; pyproject.toml requires it, too
WRITE_ID = "write_id"  # in the metadata of a version
# After all retries; or an HTTP status about the server, the account (also its quota) or the rate.
_MAY_PASS = re.compile(
    r"giving up after \d+ attempt|(HTTP|error|status:?) (401|402|403|407|408|429|5\d\d)\b"
)


@dataclass(frozen=True, slots=True)
class Place:
    """A run of W&B."""

    base_url: str
    entity: str  # "" if it is not known yet, as in offline mode: the user's default
    project: str
    run: str

    @property
    def destination(self) -> str:
        """The run's name in an outbox; without the entity, which an offline run does not know."""
        return f"wandb:{self.base_url}/{self.project}/{self.run}"

    @property
    def label(self) -> str:
        """The run in messages."""
        return "/".join(filter(None, (self.entity, self.project, self.run)))

    def as_json(self) -> dict[str, Json]:
        """Return the place for from_json."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Place:
        """Read the result of as_json."""
        return cls(**{name: str(value[name]) for name in cls.__slots__})


def active_run() -> Any:
    """Return the run of wandb.init in this process.

    Raises what check_run raises; NoActiveRun, too, if there is none.
    """
    run = package().run
    if run is None:
        raise NoActiveRun(
            "No W&B run is active. Call wandb.init() before training, or pass run=, or use "
            "kept.ModelCheckpoint, which keeps checkpoints without W&B."
        )
    return check_run(run)


def check_run(run: Any) -> Any:
    """Return a run if it takes artifacts from this process.

    Raises NoActiveRun for a run that has ended, and in a forked child, whose run is that of its
    parent; or InvalidInput without the SDK.
    """
    package()
    if getattr(run, "_is_finished", False):
        raise NoActiveRun(f"The W&B run {run.id} has ended. Call wandb.init() before training.")
    if _is_of_parent(run):
        raise NoActiveRun(
            f"The W&B run {run.id} was begun by the process that forked this one, which sends its "
            "checkpoints. Call wandb.init() in this process, or train with the callback in one "
            "process only."
        )
    return run


def _is_of_parent(run: Any) -> bool:
    return int(getattr(run, "_init_pid", os.getpid())) != os.getpid()


def place_of(run: Any) -> Place | None:
    """Return where a run's artifacts go, or None for one that is disabled."""
    if run.disabled:
        return None
    base_url = str(run.settings.base_url).rstrip("/")
    return Place(base_url, run.entity or "", run.project or "uncategorized", str(run.id))


def run_facts(given: Any = None) -> dict[str, Json]:
    """Return the id and the URL of a run, or of the active one; empty if there is none.

    It does not import wandb: a run that is active has done so.
    """
    run = given if given is not None else getattr(sys.modules.get("wandb"), "run", None)
    with contextlib.suppress(Exception):  # it only describes the run
        if run is not None and not run.disabled:
            url = None if run.offline else run.url
            return {"id": str(run.id)} | ({"url": str(url)} if url else {})
    return {}


def step_of(run: Any) -> int | None:
    """Return the step that a run is at, None if it has none: then it ended or is shared.

    It asks the service of the SDK on this machine, which takes about a millisecond.
    """
    if run.disabled or getattr(run, "_is_finished", False):  # the SDK would wait for 30 s
        return None
    try:
        return int(run.step)
    except Exception:  # noqa: BLE001 - with mode="shared", or if the service does not answer
        return None


def _at_step(run: Any, step: int | None) -> Any:
    """Return the run, or a view of it that is at another step, which an artifact gets.

    The view shares the state of the run. log_artifact reads the step from the attribute.
    """
    if step is None:
        return run
    view: Any = object.__new__(type("RunAtStep", (type(run),), {"step": property(lambda _: step)}))
    view.__dict__ = run.__dict__
    return view


def note_use(run: Any) -> None:
    """Note in the run's telemetry, as W&B's callback does, that it has a checkpoint callback."""
    from wandb.sdk.lib import telemetry

    with telemetry.context(run=run) as noted:
        noted.feature.keras_model_checkpoint = True


def before_end(run: Any, call: Callable[[], None]) -> None:
    """Have the SDK call something once, before the run ends, also because of an exception."""
    from wandb.sdk.wandb_run import TeardownHook, TeardownStage

    run._teardown_hooks.append(TeardownHook(call, TeardownStage.EARLY))  # noqa: SLF001 - no public way


def log(run: Any, entry: Entry, aliases: list[str], *, is_overtaken: bool = False) -> None:
    """Log an entry as a version of an artifact, and wait until W&B has it.

    It hashes the files and blocks without a limit, so the training thread must not call it. Raises
    RunEnded, Refused for an entry that the SDK does not accept, or what wandb raises otherwise. In
    the last case the server may have the version or not, see server.known.
    """
    with _same_latest(run, entry) if is_overtaken else contextlib.nullcontext():
        _log(run, entry, aliases)


def _log(run: Any, entry: Entry, aliases: list[str]) -> None:
    try:
        artifact = _artifact(entry)
        _at_step(run, entry.info.get("history_step")).log_artifact(artifact, aliases=aliases)
    except package().errors.UsageError as error:
        raise RunEnded(str(error)) from None
    except (ValueError, TypeError) as error:  # a name, a type, metadata: not sent
        raise Refused(f"W&B rejected this checkpoint: {error}") from error
    artifact.wait()
    _settle_aliases(artifact, aliases)


@contextlib.contextmanager
def _same_latest(run: Any, entry: Entry) -> Iterator[None]:
    """Give latest back to the version that has it: W&B gives it to each new version."""
    api = package().Api(overrides={"base_url": run.settings.base_url})
    path = f"{run.entity}/{run.project}/{entry.artifact}"
    newest = api.artifact(f"{path}:latest").version
    yield
    version = api.artifact(f"{path}:{newest}")
    if "latest" not in version.aliases:
        version.aliases.append("latest")
        version.save()


def may_pass(error: BaseException) -> bool:
    """Return whether an upload failed for a reason that does not concern the upload itself.

    The SDK gives the reason as a text only.
    """
    return _MAY_PASS.search(str(error)) is not None


def _artifact(entry: Entry) -> Any:
    info = entry.info
    artifact = package().Artifact(
        entry.artifact,
        type=info["type"],
        description=info["description"],
        metadata=info["metadata"] | {WRITE_ID: entry.write_id, SAVED_AT: entry.time},
    )
    for file in entry.files:
        artifact.add_file(file.file, name=file.path, policy="immutable", skip_cache=True)
    for path, uri in info["references"].items():
        artifact.add_reference(uri, name=path, checksum=False)
    if info["ttl_seconds"] is not None:
        artifact.ttl = timedelta(seconds=info["ttl_seconds"])
    return artifact


def _settle_aliases(artifact: Any, aliases: list[str]) -> None:
    """Set the aliases again: wandb drops them if an earlier version has the same content."""
    missing = [alias for alias in aliases if alias not in (*artifact.aliases, "latest")]
    if missing:
        artifact.aliases.extend(missing)
        artifact.save()


@contextlib.contextmanager
def upload_failed() -> Iterator[None]:
    """Raise what the SDK raises as UploadFailed."""
    try:
        yield
    except KeptError:
        raise
    except Exception as error:  # the SDK also raises the errors of its libraries
        raise UploadFailed(f"W&B: {error or type(error).__name__}") from error


def package() -> Any:
    """Return the SDK; raises InvalidInput if it is missing or too old."""
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

"""The run of an earlier process, resumed only to log artifacts to it.

Invariant: the run afterwards says what it said before. What the shell and its folder say about
runs (WANDB_NAME, WANDB_RUN_GROUP, config-defaults.yaml) does not reach it.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kept.errors import Refused, Unreachable
from kept.progress import say
from kept.sync.outbox.rejected import reject
from kept.sync.wandb import sdk
from kept.sync.wandb.ping import answers
from kept.sync.wandb.sender import Sender, place_of_entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.sync.outbox.entry import Entry
    from kept.sync.outbox.outbox import Outbox
    from kept.sync.wandb.sdk import Place

# Variables of the shell that say how to reach W&B; all others would change the resumed run.
_OF_THE_ACCOUNT = re.compile(
    r"WANDB_(API_KEY|BASE_URL|IDENTITY_TOKEN_FILE|CREDENTIALS_FILE|(DATA|CACHE|CONFIG|ARTIFACT)_DIR"
    r"|SERVICE\w*|HTTP_TIMEOUT|INIT_TIMEOUT|ERROR_REPORTING|SILENT|CONSOLE|_?X_\w+|DEBUG|INSECURE\w*)"
)


_SIGN_SECONDS = 70.0  # two signs of life of the SDK, and some more
_LOOK_SECONDS = 5.0


@contextlib.contextmanager
def resumed(place: Place) -> Iterator[Any]:
    """Yield the run of an earlier process, only to log artifacts to it.

    Afterwards the run has its earlier state again; a run that never ended has failed. If the server
    does not know the run yet, because it was offline, this creates it. Raises Refused if the run
    was deleted on the server, and UploadFailed otherwise.
    """
    wandb = sdk.package()
    quiet = wandb.Settings(
        base_url=place.base_url,
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_disable_meta=True,
        host="",
        program="",
    )
    with _temporary_folder() as folder, _no_settings_of_the_shell(folder):
        with sdk.upload_failed(), _deleted_run_refused(place):
            before = _found(place)
            # If it was online once, it was deleted: then this fails at once, and init after 90 s.
            if is_new := before is None and bool(place.entity):
                owner = {"project": place.project, "entity": place.entity}
                _api(place).create_run(run_id=place.run, **owner)
            succeeded = before is None or before.state == "finished"
            run = wandb.init(
                id=place.run,
                project=place.project,
                entity=place.entity or None,
                dir=folder,
                mode="online",
                resume=None if is_new else "allow",  # without a config it cannot be resumed
                settings=quiet,
            )
        try:
            yield run
        finally:
            run.finish(exit_code=0 if succeeded else 1)
            if before is not None:  # init has replaced a part of config and summary
                with sdk.upload_failed():
                    before.update()


@contextlib.contextmanager
def _deleted_run_refused(place: Place) -> Iterator[None]:
    """Raise what the SDK raises for a deleted run as Refused: its id is never free again."""
    try:
        yield
    except Exception as error:
        answer = getattr(error, "response", None)  # older SDKs raise an error of requests
        if "previously created and deleted" not in f"{error} {getattr(answer, 'text', '')}":
            raise
        raise Refused(
            f"W&B rejected the checkpoints of {place.label}, because the run was deleted there. "
            "Undelete it on W&B's page of the run, which is possible for some days, and run "
            "`kept sync` again, or drop them with `kept sync --drop-refused`."
        ) from error


def _api(place: Place) -> Any:
    return sdk.package().Api(overrides={"base_url": place.base_url})


def _found(place: Place) -> Any:
    """Return a run as the server knows it, with its config, or None if it does not know it."""
    wandb, api = sdk.package(), _api(place)
    path = f"{place.entity or api.default_entity}/{place.project}/{place.run}"
    try:
        run = api.run(path)
    except (ValueError, wandb.errors.CommError) as error:
        if "not find" in str(error) or "not found" in str(error):
            return None
        raise
    _ = run.rawconfig, run.summary  # loads what update needs
    return run


def _lives(place: Place) -> bool:
    """Return whether a process has the run, here or on another machine, before it uses kept.

    Its SDK reports a sign of life every 30 s. W&B takes some minutes to see that a run was killed;
    until then this waits for the next sign, for up to 70 s. Raises UploadFailed.
    """
    # The SDK reads the shell once in a process, so the first question hides it, too.
    with _temporary_folder() as folder, _no_settings_of_the_shell(folder), sdk.upload_failed():
        sign = _sign_of_life(place)
        if sign is None:
            return False
        say(f"W&B says that {place.label} is running; waiting {_SIGN_SECONDS:.0f} s for a sign")
        end = time.monotonic() + _SIGN_SECONDS
        while time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)
            if (newer := _sign_of_life(place)) != sign:
                return newer is not None
    return False


def _sign_of_life(place: Place) -> str | None:
    run = _found(place)
    return (
        getattr(run, "heartbeat_at", None) if run is not None and run.state == "running" else None
    )


@contextlib.contextmanager
def _temporary_folder() -> Iterator[str]:
    """Yield a folder for the local files of a resumed run, which nothing needs later."""
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
def _no_settings_of_the_shell(folder: str) -> Iterator[None]:
    """Hide what the shell says about runs: WANDB_NAME, config-defaults.yaml and the like.

    wandb reads both in init, and would give them to the resumed run.
    """
    hidden = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith("WANDB_") and not _OF_THE_ACCOUNT.fullmatch(name)
    }
    before = os.getcwd()
    os.environ["WANDB_DIR"] = folder
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.pop("WANDB_DIR", None)
        os.environ.update(hidden)


def send_left(
    outbox: Outbox, destination: str, artifact: str | None = None, *, base_url: str | None = None
) -> Iterator[Entry]:
    """Send the entries of a run whose process has ended; yield each one that W&B has.

    They go to the server at base_url, or to the one that _server_for names. Sends nothing if the
    run's process lives, or another process is sending. Raises what Sender.send_all raises; the
    entries sent before have left the outbox.
    """
    with outbox.draining(destination) as mine:
        if mine:
            left = [e for e in outbox.entries(destination) if artifact in (None, e.artifact)]
            for place, entries in _by_place(left).items():
                there = replace(place, base_url=base_url or _server_for(place, entries))
                if there != place:
                    saved = f"the checkpoints of {place.label} were saved for {place.base_url}"
                    say(f"{saved}; sending them to {there.base_url}")
                yield from _send_group(outbox, there, entries)


def _server_for(place: Place, entries: list[Entry]) -> str:
    """Return the URL of the server that gets the checkpoints of a run.

    $WANDB_BASE_URL counts for a run that was offline, which knows no server, and if the server of
    the run does not answer, because it may have moved.
    """
    named = os.environ.get("WANDB_BASE_URL", "").rstrip("/")
    if not named or named == place.base_url:
        return place.base_url
    offline = all(entry.info["run"].get("offline", not place.entity) for entry in entries)
    return named if offline or not answers(place) else place.base_url


def _by_place(entries: list[Entry]) -> dict[Place, list[Entry]]:
    """Group entries of one destination by entity; those without one join the only other group."""
    entities = {place_of_entry(entry).entity for entry in entries} - {""}
    found: dict[Place, list[Entry]] = {}
    for entry in entries:
        place = place_of_entry(entry)
        if not place.entity and len(entities) == 1:
            place = replace(place, entity=next(iter(entities)))
        found.setdefault(place, []).append(entry)
    return found


def _send_group(outbox: Outbox, place: Place, entries: list[Entry]) -> Iterator[Entry]:
    if not answers(place):
        raise Unreachable(f"{place.base_url} does not answer")
    if _lives(place):
        return
    with contextlib.ExitStack() as stack:
        try:
            run = stack.enter_context(resumed(place))
        except Refused as refusal:
            for entry in entries:
                reject(entry, str(refusal))
            raise
        for entry in Sender(run, place).send_all(entries):
            outbox.confirm(entry)
            yield entry

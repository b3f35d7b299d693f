"""kept sync: what one place has and another lacks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import json_option, opened
from kept.cli.completion import artifact_names
from kept.cli.output import clean, counted, print_json, size_text
from kept.errors import RemoteError
from kept.progress import progress

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.sync.mirror.replicate import Copied


@click.command(short_help="Send what waits, or copy a store to another.")
@click.argument("locations", metavar="[[SOURCE] TARGET]", nargs=-1)
@click.option(
    "--artifact", metavar="NAME", shell_complete=artifact_names, help="This artifact only."
)
@click.option("--status", is_flag=True, help="List what waits, and send nothing.")
@click.option(
    "--drop-refused",
    "drop",
    is_flag=True,
    help="Give up what its destination refuses, as --status tells.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask before dropping.")
@click.option(
    "--outbox",
    "folder",
    metavar="FOLDER",
    envvar="KEPT_OUTBOX",
    show_envvar=True,
    help="Where unsent checkpoints wait. Without it: ./kept-outbox.",
)
@json_option
@click.pass_obj
def sync(  # noqa: PLR0913 - the options of the command
    location: str | None,
    locations: tuple[str, ...],
    *,
    artifact: str | None,
    status: bool,
    drop: bool,
    yes: bool,
    folder: str | None,
    as_json: bool,
) -> None:
    """Send what has not arrived yet, or copy from one store to another.

    \b
    kept sync                            what waits in the outbox to W&B or a remote
                                         store, and this store to its mirrors
    kept sync --status                   what that would be
    kept sync s3://bucket/prefix         this store to object storage
    kept sync s3://bucket/prefix ./here  object storage to a folder

    A checkpoint waits in the outbox until its destination has confirmed it: after a crash, an
    outage, or a run in W&B's offline mode. It goes to the run it belongs to, in order, with its
    aliases, and never twice. What a process that still trains has in there is left to it. One that
    its destination refuses as it is (a name, a type, a file that was changed) stays, with the
    reason, and later ones go; it is tried again each time, until it is dropped.

    Between stores, TARGET gets what SOURCE has and it lacks. Versions keep their numbers, aliases
    and metadata, and stay deleted if they are; only bytes that TARGET lacks are moved.

    Interrupted, it goes on where it was the next time.
    """  # noqa: D301 (click's mark for lines that stay as they are)
    if len(locations) > 2 or bool(locations) + status + drop > 1:
        raise click.UsageError(
            "Write `kept sync [[SOURCE] TARGET]`, `kept sync --status`, or `kept sync "
            "--drop-refused`."
        )
    if drop:
        _drop_refused(folder, artifact, yes=yes, as_json=as_json)
    elif locations:
        source = opened(locations[0] if len(locations) == 2 else location)
        target, copied = _copy_all(source, locations[-1], artifact)
        if as_json:
            print_json([_shape(source, target, copied)])
        else:
            _print(target, copied)
    else:
        _send_or_list(location, folder, artifact, status=status, as_json=as_json)


def _drop_refused(folder: str | None, artifact: str | None, *, yes: bool, as_json: bool) -> None:
    from kept.cli.waiting import drop_refused, label_of, refused
    from kept.sync.outbox.outbox import Outbox

    outbox = Outbox(folder)
    due = refused(outbox, artifact)
    if due and not yes and sys.stdin.isatty():
        checkpoints = counted(len(due), "refused checkpoint")
        text = f"Drop {checkpoints}? The outbox may have the only copy."
        click.confirm(text, abort=True, err=True)
    dropped = drop_refused(outbox, due)
    shapes = [
        {"target": e.destination, "artifact": e.artifact, "bytes": e.size, "since": e.time}
        for e in dropped
    ]
    if as_json:
        print_json(shapes)
        return
    for entry in dropped:
        click.echo(f"dropped: {clean(entry.artifact)} for {clean(label_of(entry))}, {entry.time}")
    if not dropped:
        click.echo("Nothing was refused, or another process is sending it.")


def _send_or_list(
    location: str | None, folder: str | None, artifact: str | None, *, status: bool, as_json: bool
) -> None:
    from kept.cli.waiting import print_sent, print_waiting, send_waiting, sent_shape, waiting
    from kept.sync.outbox.outbox import Outbox

    outbox = Outbox(folder)
    if status:
        print_waiting(waiting(outbox, _store_if_any(location), artifact), as_json=as_json)
        return
    sent = send_waiting(outbox, artifact)
    if not as_json:
        print_sent(sent)
    store = _store_if_any(location)  # only now, so that one that is away holds nothing up
    copied = [_copy_all(store, mirror, artifact) for mirror in _mirrors(store)] if store else []
    if as_json:
        shapes = [_shape(store, *each) for each in copied] if store else []
        print_json([sent_shape(outbox, each) for each in sent] + shapes)
    for target, artifacts in [] if as_json else copied:
        _print(target, artifacts)
    if not as_json and not sent and not copied:
        mirrorless = f"; {store.location} has no mirrors" if store else ""
        click.echo(f"Nothing waits in {outbox.folder}{mirrorless}.")
    if any(each.error for each in sent):
        raise SystemExit(1)


def _store_if_any(location: str | None) -> Store | None:
    """Return the store, or None: who uses W&B only has none, and one in a cloud may be away."""
    try:
        store = opened(location, may_be_new=True)
    except RemoteError as error:
        click.echo(f"The store cannot be asked for its mirrors: {clean(str(error))}", err=True)
        return None
    return store if store.exists else None


def _mirrors(source: Store) -> list[str]:
    from kept.store.receipts import receipts

    return sorted({receipt.destination for receipt in receipts(source.bucket)})


def _copy_all(source: Store, where: str, artifact: str | None) -> tuple[Store, dict[str, Copied]]:
    target = opened(where, may_be_new=True)
    if target.location == source.location:
        raise click.UsageError(f"SOURCE and TARGET are the same store: {source.location}")
    names = [artifact] if artifact else [found.name for found in source.artifacts()]
    return target, {name: _copy(source, target, name) for name in names}


def _copy(source: Store, target: Store, name: str) -> Copied:
    from kept.store.receipts import Receipts
    from kept.sync.mirror.replicate import Sync

    confirmed = Receipts(source.bucket, target.location)
    is_mirror = confirmed.receipt(name) is not None

    def confirm(record: int, version: int) -> None:
        if is_mirror:
            confirmed.confirm(name, record, version)

    with progress(f"Copying {name}", "bytes") as moved:
        return Sync(source, target, name).run(confirm, moved, in_parts=True)


def _shape(source: Store, target: Store, copied: dict[str, Copied]) -> dict[str, Any]:
    return {
        "source": source.location,
        "target": target.location,
        "artifacts": [
            {"name": name, "versions": c.versions, "changes": c.changes, "blobs": c.blobs,
             "bytes": c.bytes}
            for name, c in copied.items()
        ],
    }  # fmt: skip


def _print(target: Store, copied: dict[str, Copied]) -> None:
    for name, c in copied.items():
        if c.versions or c.changes:
            amount = f"{counted(c.versions, 'version')}, {counted(c.changes, 'change')}"
            click.echo(f"{name}: {amount}, {size_text(c.bytes)} copied")
        else:
            click.echo(f"{name}: nothing new")
    click.echo(f"{counted(len(copied), 'artifact')} of this store in {clean(target.location)}")

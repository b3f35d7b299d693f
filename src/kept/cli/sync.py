"""kept sync: what one store has and another lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import json_option, opened
from kept.cli.completion import artifact_names
from kept.cli.output import clean, counted, print_json, size_text
from kept.cli.progress import progress

if TYPE_CHECKING:
    from kept.mirrors.sync import Copied
    from kept.store.store import Store


@click.command()
@click.argument("locations", metavar="[[SOURCE] TARGET]", nargs=-1)
@click.option(
    "--artifact", metavar="NAME", shell_complete=artifact_names, help="Copy this artifact only."
)
@json_option
@click.pass_obj
def sync(
    location: str | None, locations: tuple[str, ...], *, artifact: str | None, as_json: bool
) -> None:
    """Copy to TARGET what SOURCE has and TARGET lacks, between stores of any kind.

    \b
    kept sync s3://bucket/prefix              this store to object storage
    kept sync s3://bucket/prefix ./here       object storage to a folder
    kept sync                                 this store to each of its mirrors, and
                                              what waits in the outbox to where it belongs

    Versions keep their numbers, aliases and metadata, and stay deleted if they are. Only bytes that
    TARGET lacks are moved. Interrupted, it goes on where it was the next time.
    """  # noqa: D301 (click's mark for lines that stay as they are)
    if len(locations) > 2:
        raise click.UsageError("Write `kept sync [[SOURCE] TARGET]`.")
    sent = [] if locations else [_send(place) for place in _waiting()]
    # Beside an outbox there need not be a store.
    source = opened(locations[0] if len(locations) == 2 else location, may_be_new=bool(sent))
    targets = [locations[-1]] if locations else _mirrors(source, needed=not sent)
    results = [_copy_all(source, target, artifact) for target in targets]
    if as_json:
        print_json([*sent, *(_shape(source, target, copied) for target, copied in results)])
        return
    for shape in sent:
        _print_sent(shape)
    for target, copied in results:
        _print(target, copied)


def _waiting() -> list[str]:
    """Return the stores in object storage that the outbox has something for."""
    from kept.bucket.location import is_remote
    from kept.mirrors.outbox import Outbox

    return sorted({e.destination for e in Outbox().entries() if is_remote(e.destination)})


def _send(where: str) -> dict[str, Any]:
    from kept.mirrors.delivery import Delivery
    from kept.mirrors.outbox import Outbox

    delivery = Delivery(opened(where, may_be_new=True), Outbox())
    with progress(f"Sending to {where}", "bytes") as moved:
        sent = delivery.send(moved)
    left = len(delivery.left())
    return {"source": delivery.outbox.folder, "target": where, "sent": sent.versions, "left": left}


def _mirrors(source: Store, *, needed: bool) -> list[str]:
    from kept.mirrors.receipts import receipts

    found = sorted({receipt.destination for receipt in receipts(source.bucket)})
    if needed and not found:
        raise click.UsageError(
            f"{source.location} has no mirrors, and nothing is in the outbox. Say where to copy "
            "to: kept sync TARGET."
        )
    return found


def _copy_all(source: Store, where: str, artifact: str | None) -> tuple[Store, dict[str, Copied]]:
    target = opened(where, may_be_new=True)
    if target.location == source.location:
        raise click.UsageError(f"SOURCE and TARGET are the same store: {source.location}")
    names = [artifact] if artifact else [found.name for found in source.artifacts()]
    return target, {name: _copy(source, target, name) for name in names}


def _copy(source: Store, target: Store, name: str) -> Copied:
    from kept.mirrors.receipts import Receipts
    from kept.mirrors.sync import Sync

    confirmed = Receipts(source.bucket, target.location)
    is_mirror = confirmed.receipt(name) is not None
    with progress(f"Copying {name}") as moved:
        head = source.log(name).view().head

        def confirm(record: int, version: int) -> None:
            moved(record, head)
            if is_mirror:
                confirmed.confirm(name, record, version)

        return Sync(source, target, name).run(confirm)


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


def _print_sent(shape: dict[str, Any]) -> None:
    click.echo(f"{counted(shape['sent'], 'checkpoint')} sent to {clean(shape['target'])}")
    if shape["left"]:
        click.echo(f"{shape['left']} still wait: another process is sending them", err=True)


def _print(target: Store, copied: dict[str, Copied]) -> None:
    for name, c in copied.items():
        if c.versions or c.changes:
            amount = f"{counted(c.versions, 'version')}, {counted(c.changes, 'change')}"
            click.echo(f"{name}: {amount}, {size_text(c.bytes)} copied")
        else:
            click.echo(f"{name}: nothing new")
    click.echo(f"{counted(len(copied), 'artifact')} of this store in {clean(target.location)}")

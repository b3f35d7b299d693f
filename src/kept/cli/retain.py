"""kept prune, ttl, undelete and gc: which versions stay, and the bytes of those that do not."""

from __future__ import annotations

import sys
from re import split
from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import json_option, opened, version_shape
from kept.cli.completion import artifact_names, references
from kept.cli.output import (
    Column,
    clean,
    counted,
    moments,
    print_json,
    print_table,
    size_text,
    time_text,
    value_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.store.gc.collector import Collection
    from kept.store.retention.policy import Decision

dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Only tell what would be deleted, and why."
)


@click.command(short_help="Delete the versions that no rule keeps.")
@click.argument("name", shell_complete=artifact_names)
@click.option("--keep-last", "last", type=int, metavar="N", help="Keep the newest N.")
@click.option("--keep-best", "best", type=int, metavar="N", help="Keep the best N by the metric.")
@click.option("--keep-every", "every", metavar="PERIOD",
              help="Keep the first of each '10 epochs', '1000 steps' or '6h'.")  # fmt: skip
@click.option("--keep-within", "within", metavar="TIME", help="Keep those of the last 7d, 12h, …")
@click.option("--keep-bytes", "bytes", metavar="SIZE",
              help="Give up the oldest of all these until the rest fits into 50GB.")  # fmt: skip
@dry_run_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def prune(
    location: str | None, /, name: str, *, dry_run: bool, yes: bool, as_json: bool, **rules: Any
) -> None:
    """Delete the versions of NAME that no rule keeps, and those that have expired.

    Rules add up. Never deleted are: the newest version, the newest without NaN, what has an
    alias other than epoch_…, what was undeleted, and what a mirror has not confirmed yet. What is
    deleted can be undeleted until gc. On a terminal you are asked first.
    """
    from kept.store.retention.keep import Keep

    keep = Keep(**rules) if any(rule is not None for rule in rules.values()) else None
    store = opened(location)
    decisions = store.prune(name, keep, dry_run=True)
    if not dry_run:
        due = sum(not decision.keep for decision in decisions)
        if due and not yes and sys.stdin.isatty():
            click.confirm(f"Delete {counted(due, 'version')} of {name}?", abort=True, err=True)
        decisions = store.prune(name, keep)
    if as_json:
        print_json([_decision_shape(name, decision) for decision in decisions])
    else:
        _print_decisions(decisions, dry_run=dry_run)


@click.command()
@click.argument("ref", shell_complete=references)
@click.argument("time", required=False)
@click.option("--remove", is_flag=True, help="Let it never expire.")
@json_option
@click.pass_obj
def ttl(location: str | None, ref: str, time: str | None, *, remove: bool, as_json: bool) -> None:
    """Let a version expire after TIME from now: 7d, 12h, 30min.

    What has expired is deleted by the next prune or gc, but for what prune never deletes.
    """
    if remove == (time is not None):
        raise click.UsageError("Write `kept ttl REF TIME` or `kept ttl --remove REF`.")
    version = opened(location).set_ttl(ref, time)
    expires = version.record.expires
    if as_json:
        print_json(version_shape(version) | {"expires": expires})
    else:
        becomes = f"expires {time_text(expires)}" if expires else "stays"
        click.echo(f"{version.reference} {becomes}")


@click.command(short_help="Take the deletion of a version back.")
@click.argument("ref")
@json_option
@click.pass_obj
def undelete(location: str | None, ref: str, *, as_json: bool) -> None:
    """Take the deletion of NAME:v3 back, as long as gc has not removed its content."""
    from kept.names import parse_reference

    store = opened(location)
    deleted = {version.index for version in store.deleted(parse_reference(ref).name)}
    version = store.undelete(ref)
    if as_json:
        print_json(version_shape(version))
    elif version.index not in deleted:
        click.echo(f"{version.reference} was not deleted")
    else:
        names = ", ".join(version.aliases)
        click.echo(f"{version.reference} is there again" + (f", with {names}" if names else ""))


@click.command()
@click.option("--grace", default="24h", show_default=True, metavar="TIME",
              help="Leave alone what is younger, or was deleted a shorter time ago.")  # fmt: skip
@dry_run_option
@json_option
@click.pass_obj
def gc(location: str | None, *, grace: str, dry_run: bool, as_json: bool) -> None:
    """Free the bytes that no version needs.

    Others may go on writing. What is freed can not be undeleted any more; with --grace 0s nothing
    deleted can.
    """
    found = opened(location).gc(grace=grace, dry_run=dry_run)
    if as_json:
        print_json(_collection_shape(found))
    else:
        _print_collection(found, grace, dry_run=dry_run)


def _decision_shape(name: str, decision: Decision) -> dict[str, Any]:
    return {
        "reference": f"{name}:v{decision.record.index}",
        "keep": decision.keep,
        "reasons": decision.reasons,
        "size": decision.record.size,
        "created_at": decision.record.created_at,
    }


def _print_decisions(decisions: list[Decision], *, dry_run: bool) -> None:
    would = "would be deleted" if dry_run else "deleted"
    columns = [Column("version"), Column("size", right=True), Column("value", right=True),
               Column(""), Column("why", wraps=True)]  # fmt: skip
    print_table(columns, [
        [f"v{d.record.index}", size_text(d.record.size), _value(d),
         "kept" if d.keep else would, moments(", ".join(d.reasons))]
        for d in decisions
    ])  # fmt: skip
    gone = [decision.record.size for decision in decisions if not decision.keep]
    told = f"{counted(len(gone), 'version')} of {size_text(sum(gone))} {would}"
    click.echo(told + ("; kept gc frees the bytes that no other version shares" if gone else ""))


def _value(decision: Decision) -> str:
    value = decision.record.metadata.get("value")
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value_text(value)


def _by_number(reason: tuple[str, tuple[int, int]]) -> list[tuple[int, str]]:
    """Put v9 before v10."""
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in split(r"(\d+)", reason[0])
    ]


def _collection_shape(found: Collection) -> dict[str, Any]:
    return {
        "bytes": found.bytes,
        "keys": len(found.doomed),
        "young_bytes": found.young,
        "waiting": found.waiting,
        "expired": found.expired,
        "reasons": [
            {"why": why, "keys": keys, "bytes": size}
            for why, (keys, size) in found.by_reason().items()
        ],
    }


def _print_collection(found: Collection, grace: str, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    for reference in found.expired:
        click.echo(f"{clean(reference)}: expired, {would}deleted")
    _print_reasons(found.by_reason().items())
    young = f"; {size_text(found.young)} are left alone for {grace}" if found.young else ""
    click.echo(f"{size_text(found.bytes)} {would}freed{clean(young + _waiting(found, grace))}")


def _waiting(found: Collection, grace: str) -> str:
    if not found.waiting:
        return ""
    was, keeps = ("was", "keeps its") if found.waiting == 1 else ("were", "keep their")
    versions = f"{counted(found.waiting, 'version')} that {was} deleted in the last {grace}"
    return f"; {versions} can be undeleted and {keeps} bytes"


def _print_reasons(reasons: Iterable[tuple[str, tuple[int, int]]]) -> None:
    for why, (keys, size) in sorted(reasons, key=_by_number):
        click.echo(f"{clean(moments(why))}: {size_text(size)} in {counted(keys, 'blob')}")

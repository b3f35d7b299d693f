"""kept ls: lists artifacts, or the versions of one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import json_option, opened, version_json
from kept.cli.completion import artifact_names
from kept.cli.output import Column, clean, local_time, print_json_list, print_table
from kept.names import LATEST
from kept.store.health.state import health_of
from kept.store.metadata import SAVED_AT
from kept.units import counted, metric_text, size_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.store.log.overview import Summary
    from kept.store.receipts import Receipt
    from kept.store.store import Store
    from kept.store.version import Version

_SHORT_DIGEST = 10
_FEW_ALIASES = 4
_EPOCH = re.compile(r"epoch_\d+(_batch_\d+)?")  # the callback puts one on every version


_HELP = """List the artifacts, or the versions of one, oldest first.

With a condition, an order or a glob such as 'run_*', list the versions of all artifacts that fit:
the newest first, or in that order.

\b
kept ls --where "framework = jax and test_acc > 0.9" --sort -test_acc --limit 10
kept ls 'run_*' --where "created > 7d and not tags" --columns val_loss,git.commit

\b
CONDITION   =  !=  <  <=  >  >=  in (A, B)  ~ "glob*"  and  or  not  ( )
            NAME alone: the version has it
Names       metrics (test_acc, test_acc@DATASET), metadata (epoch, optimizer.lr), tags,
            aliases, artifact, size (1GB), created (7d ago, 2026-11-30), git.commit, …
"""


@click.command(help=_HELP)
@click.argument("name", metavar="[NAME|GLOB]", required=False, shell_complete=artifact_names)
@click.option("--where", metavar="CONDITION", help="Only versions that fit.")
@click.option(
    "--sort",
    multiple=True,
    metavar="[-]FIELD",
    help="Sort by a metric or another value; -FIELD: the largest first. Repeat for more.",
)
@click.option("--limit", type=click.IntRange(0), metavar="N", help="At most N versions.")
@click.option("--columns", metavar="FIELDS", help="The values to show: val_loss,git.commit")
@click.option("--no-index", is_flag=True, help="Read all logs, not the index in the cache folder.")
@click.option(
    "--all",
    "with_deleted",
    is_flag=True,
    help="Show removed artifacts, or the deleted versions of NAME, too.",
)
@click.option("--plot", is_flag=True, help="Draw the metric of NAME below its versions.")
@json_option
@click.pass_obj
def ls(
    location: str | None, /, name: str | None, *, with_deleted: bool, as_json: bool, **asked: Any
) -> None:
    """List the artifacts, or the versions of one, oldest first."""
    with_chart = asked.pop("plot")
    is_search = _is_search(name, asked)
    if with_chart and (name is None or is_search or as_json):
        raise click.UsageError("--plot draws one artifact: kept ls NAME --plot. See kept plot.")
    if is_search and with_deleted:
        raise click.UsageError("--all lists one artifact, or all; it takes no search.")
    store = opened(location)
    if is_search:
        from kept.cli.ls_search import Asked, list_found

        list_found(store, Asked(name, **asked), as_json=as_json)
    elif name is None:
        _list_artifacts(store, with_removed=with_deleted, as_json=as_json)
    elif with_deleted:
        _list_all(store, name, as_json=as_json)
    elif as_json:
        mirrors = _receipts(store, name)
        versions = store.newest_first(name)
        if mirrors:
            print_json_list(version_json(v) | _mirrored(v, mirrors) for v in versions)
        else:
            print_json_list(map(version_json, versions))
    else:
        _print_versions(store, name, _receipts(store, name))
        _print_waiting(store, name)
    if with_chart:
        from kept.cli.plot import chart_of

        click.echo(f"\n{chart_of(store, str(name))}")


def _is_search(name: str | None, asked: Mapping[str, Any]) -> bool:
    """Return whether the user asks for more than artifacts, or the versions of one."""
    is_glob = name is not None and any(sign in name for sign in "*?")
    has_option = asked["where"] is not None or asked["limit"] is not None or asked["no_index"]
    return bool(has_option or asked["sort"] or asked["columns"] or is_glob)


def _list_all(store: Store, name: str, *, as_json: bool) -> None:
    every = sorted([*store.versions(name), *store.deleted(name)], key=lambda v: v.index)
    if as_json:
        print_json_list(
            version_json(v) | {"deleted_at": v.record.deleted_at} for v in reversed(every)
        )
        return
    columns = [Column("version"), Column("aliases"), Column("size", right=True),
               Column("created"), Column("deleted")]  # fmt: skip
    print_table(columns, [
        [v.version, ", ".join(v.aliases), size_text(v.size), local_time(v.record.created_at),
         local_time(v.record.deleted_at) if v.record.deleted_at else ""]
        for v in every
    ])  # fmt: skip


def _receipts(store: Store, name: str) -> list[Receipt]:
    from kept.store.receipts import receipts

    return [receipt for receipt in receipts(store.bucket) if receipt.artifact == name]


def _mirrored(version: Version, mirrors: list[Receipt]) -> dict[str, dict[str, bool]]:
    """Return which mirrors have confirmed a version."""
    return {"mirrored": {mirror.destination: version.index <= mirror.version for mirror in mirrors}}


def _where(version: Version, mirrors: list[Receipt]) -> str:
    count = sum(version.index <= receipt.version for receipt in mirrors)
    if count == len(mirrors):
        return "mirrored"
    return "local" if not count else f"local, {count} of {len(mirrors)} mirrors"


def _print_waiting(store: Store, name: str | None = None) -> None:
    """Report on stderr the checkpoints that a run has saved and not uploaded yet."""
    if not store.bucket.is_remote:
        return
    from kept.sync.outbox.outbox import Outbox

    outbox = Outbox()
    count = sum(name in (None, entry.artifact) for entry in outbox.entries(store.location))
    if count:
        waiting = counted(count, "checkpoint") + (f" of {name}" if name else "")
        text = f"{waiting} in {clean(outbox.folder)} not uploaded yet; to upload: kept sync"
        click.echo(text, err=True)


def _list_artifacts(store: Store, *, with_removed: bool, as_json: bool) -> None:
    from kept.store.log.overview import summaries

    every = list(summaries(store.logs))
    # One without a type has damage, and may have versions.
    found = [each for each in every if with_removed or each[1].versions or each[1].type is None]
    removed = len(every) - len(found)
    if as_json:
        print_json_list(_artifact_json(*each) for each in reversed(found))
    elif found:
        columns = [
            Column("name"),
            Column("type", extra=True),
            Column("versions", right=True),
            Column("newest"),
            Column("size", right=True),
            Column("aliases"),
        ]
        print_table(columns, [_artifact_row(*each) for each in found])
    else:
        hidden = f" To see {counted(removed, 'removed one')}: kept ls --all" if removed else ""
        click.echo(f"There is no artifact in {clean(store.location)}.{hidden}", err=True)
    if not as_json:
        _print_waiting(store)


def _artifact_json(name: str, found: Summary) -> dict[str, Any]:
    return {
        "name": name,
        "type": found.type,
        "versions": found.versions,
        "latest": None if found.newest is None else f"v{found.newest}",
        "size": found.size,
        "created_at": found.created_at,
        "aliases": {alias: f"v{index}" for alias, index in found.aliases},
    }


def _artifact_row(name: str, found: Summary) -> list[str]:
    return [
        name,
        found.type or "?",
        str(found.versions),
        "" if found.newest is None else f"v{found.newest}",
        "" if found.size is None else size_text(found.size),
        _some_aliases(found.aliases),
    ]


def _some_aliases(aliases: list[tuple[str, int]]) -> str:
    """Return the aliases that a person has put, with their versions; newest version first."""
    of_newest_first = sorted(aliases, key=lambda pair: -pair[1])
    pairs = [f"{alias}=v{index}" for alias, index in of_newest_first
             if alias != LATEST and not _EPOCH.fullmatch(alias)]  # fmt: skip
    more = ["…"] if len(pairs) > _FEW_ALIASES else []
    return ", ".join(pairs[:_FEW_ALIASES] + more)


def _print_versions(store: Store, name: str, mirrors: list[Receipt]) -> None:
    from kept.store.log.lookup import moved_to

    versions = store.versions(name)
    if not versions:
        new_name = moved_to(store.log(name).view())
        why = f"it was renamed to {new_name}" if new_name else "all were deleted"
        click.echo(f"{name} has no versions: {why}.", err=True)
        return
    monitors = {v.metadata["monitor"] for v in versions if _monitored(v.metadata)}
    title = str(*monitors) if len(monitors) == 1 else "value"
    has_marks = any(health_of(v.record).is_marked for v in versions)
    saved = list(map(_saved, versions))
    columns = [
        Column("version"),
        Column("aliases"),
        *([Column(title, right=True)] if monitors else []),
        *([Column("health")] if has_marks else []),
        Column("size", right=True),
        Column("created"),
        Column("digest", extra=True),
        *([Column("saved")] if any(saved) else []),
        *([Column("where")] if mirrors else []),
    ]
    rows = [
        _version_row(v, monitors, has_marks=has_marks)
        + ([time] if any(saved) else [])
        + ([_where(v, mirrors)] if mirrors else [])
        for v, time in zip(versions, saved, strict=True)
    ]
    print_table(columns, rows)


def _version_row(version: Version, monitors: set[str], *, has_marks: bool) -> list[str]:
    return [
        version.version,
        ", ".join(version.aliases),
        *([_value(version.metadata, monitors)] if monitors else []),
        *([health_of(version.record).state or ""] if has_marks else []),
        size_text(version.size),
        local_time(version.record.created_at),
        version.digest[:_SHORT_DIGEST],
    ]


def _saved(version: Version) -> str:
    """Return when an imported version was saved; created says when it was imported."""
    moment = version.metadata.get(SAVED_AT)
    try:
        return local_time(moment) if isinstance(moment, str) else ""
    except ValueError:  # metadata can hold anything
        return ""


def _monitored(metadata: dict[str, Any]) -> bool:
    # Other programs put versions too, with metadata of any form.
    return isinstance(metadata.get("monitor"), str) and metadata.get("value") is not None


def _value(metadata: dict[str, Any], monitors: set[str]) -> str:
    if not _monitored(metadata):
        return ""
    text = metric_text(metadata["value"])
    return text if len(monitors) == 1 else f"{metadata['monitor']} {text}"

"""kept prune: deletes the versions that no rule keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import confirm, dry_run_option, json_option, opened, yes_option
from kept.cli.completion import artifact_names
from kept.cli.output import Column, print_json, print_table, with_local_times
from kept.units import counted, metric_text, size_text

if TYPE_CHECKING:
    from kept.store.retention.policy import Decision


@click.command(short_help="Delete the versions that no rule keeps.")
@click.argument("name", shell_complete=artifact_names)
@click.option("--keep-last", "last", type=int, metavar="N", help="Keep the newest N.")
@click.option("--keep-best", "best", type=int, metavar="N", help="Keep the best N by the metric.")
@click.option("--monitor", metavar="METRIC", help="The metric for --keep-best, measured any time.")
@click.option("--mode", type=click.Choice(["min", "max"]), help="Which direction of it is better.")
@click.option("--keep-every", "every", metavar="PERIOD",
              help="Keep the first of each '10 epochs', '1000 steps' or '6h'.")  # fmt: skip
@click.option("--keep-within", "within", metavar="TIME", help="Keep those of the last 7d, 12h, …")
@click.option("--keep-bytes", "bytes", metavar="SIZE",
              help="Then delete the oldest until the rest fits into 50GB.")  # fmt: skip
@dry_run_option
@yes_option
@json_option
@click.pass_obj
def prune(
    location: str | None, /, name: str, *, dry_run: bool, yes: bool, as_json: bool, **rules: Any
) -> None:
    """Delete the versions of NAME that no rule keeps, and those that have expired.

    A version stays if one of the rules keeps it. Prune never deletes the newest version, the newest
    without NaN, a version with an alias other than epoch_…, an undeleted version, or a version that
    a mirror has not confirmed yet. Until gc, deleted versions can be undeleted. On a terminal the
    command asks first.
    """
    from kept.store.retention.keep import Keep

    keep = Keep(**rules) if any(rule is not None for rule in rules.values()) else None
    store = opened(location)
    decisions = store.prune(name, keep, dry_run=True)
    if not dry_run:
        doomed = sum(not decision.keep for decision in decisions)
        if doomed and not yes:
            confirm(f"Delete {counted(doomed, 'version')} of {name}?")
        decisions = store.prune(name, keep)
    if as_json:
        print_json([_decision_json(name, decision) for decision in decisions])
    else:
        _print_decisions(decisions, keep.monitor if keep else None, dry_run=dry_run)


def _decision_json(name: str, decision: Decision) -> dict[str, Any]:
    return {
        "reference": f"{name}:v{decision.record.index}",
        "keep": decision.keep,
        "reasons": decision.reasons,
        "size": decision.record.size,
        "created_at": decision.record.created_at,
    }


def _print_decisions(decisions: list[Decision], monitor: str | None, *, dry_run: bool) -> None:
    deleted = "would be deleted" if dry_run else "deleted"
    columns = [
        Column("version"),
        Column("size", right=True, extra=True),
        Column("value", right=True, extra=True),
        Column(""),
        Column("why", wraps=True),
    ]
    print_table(columns, [
        [f"v{d.record.index}", size_text(d.record.size), _value(d, monitor),
         "kept" if d.keep else deleted, with_local_times(", ".join(d.reasons))]
        for d in decisions
    ])  # fmt: skip
    gone = [decision.record.size for decision in decisions if not decision.keep]
    text = f"{counted(len(gone), 'version')} of {size_text(sum(gone))} {deleted}"
    click.echo(text + ("; kept gc frees the bytes that no other version shares" if gone else ""))


def _value(decision: Decision, monitor: str | None) -> str:
    from kept.store.rank.values import measured

    metadata = decision.record.metadata
    value = measured(decision.record, monitor) if monitor else metadata.get("value")
    return "" if value is None else metric_text(value)

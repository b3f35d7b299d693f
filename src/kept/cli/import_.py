"""kept import: takes checkpoints of other programs into a store."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import confirm, json_option, opened, print_result, version_json, yes_option
from kept.cli.completion import artifact_names
from kept.cli.output import Column, clean, local_time, print_table
from kept.errors import ImportFailed
from kept.progress import progress
from kept.store.metadata import check_metadata
from kept.store.promotion.protected import withheld_text
from kept.units import counted, metric_text, size_text

if TYPE_CHECKING:
    from kept.exchange.importing.item import Item, Plan
    from kept.exchange.importing.run import Monitored, Result
    from kept.store.store import Store

_EXAMPLES = """\b
Examples:
  kept import checkpoints/ --dry-run
  kept import checkpoints/ mnist --pattern 'w.{epoch:02d}-{val_loss:.2f}.keras'
  kept import wandb:team/mnist/model-cnn
"""
_FEW = 20  # rows of a plan that are shown before the question
_SOME = 5  # names in a line


@click.command(name="import", epilog=_EXAMPLES)
@click.argument("source", metavar="SOURCE", type=click.Path())
@click.argument("name", required=False, shell_complete=artifact_names)
@click.option(
    "--pattern", metavar="FILEPATH",
    help="The filepath of the run that wrote the folder, such as "
    "'weights.{epoch:02d}-{val_loss:.2f}.keras'. Without it, kept guesses.",
)  # fmt: skip
@click.option("--monitor", metavar="METRIC", help="The metric that decides which version is best.")
@click.option(
    "--mode", type=click.Choice(["min", "max"]),
    help="Whether a lower or a higher value is better, if the metric's name does not say it.",
)  # fmt: skip
@click.option(
    "--first-epoch", type=click.IntRange(0, 1),
    help="The number of the first epoch in names. Default: 1, as Keras counts, or 0 if a name has "
    "it.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only show what would be imported.")
@yes_option
@json_option
@click.pass_obj
def import_(
    location: str | None,
    /,
    source: str,
    name: str | None,
    *,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Import checkpoints of other programs, each as a version, once.

    SOURCE is a folder of files of ModelCheckpoint, wandb:ENTITY/PROJECT/ARTIFACT, mlflow:RUN_ID, or
    the folder of a run of MLflow. NAME is the artifact; by default, that of the source.
    """
    from kept.exchange.importing.folder import Options
    from kept.exchange.importing.run import import_plan, monitored
    from kept.exchange.importing.sources import plan_of

    mode, yes = options.pop("mode"), options.pop("yes")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # kept has its own
    store = opened(location, may_be_new=True)
    with progress("Reading the source"):
        plan = plan_of(source, name, Options(**options))
    best = monitored(store, plan, options["monitor"], mode)
    new = _new(store, plan)
    if dry_run and as_json:
        print_result("", [_planned_json(item) for item in new], as_json=True)
        return
    if dry_run or (new and not yes and not as_json and sys.stdin.isatty()):
        _print_plan(plan, new, best, all_rows=dry_run)
    if dry_run or not new:
        _print_nothing(plan, new, as_json=as_json)
        return
    if not yes:
        confirm(f"Import {counted(len(new), 'checkpoint')} as versions of {plan.name}?")
    done: list[Result] = []
    with progress(f"Importing {plan.name}", "versions") as moved:
        for result in import_plan(store, plan, best):
            done.append(result)
            moved(len(done), len(plan.items))
    _report(store, plan, done, as_json=as_json)


def _new(store: Store, plan: Plan) -> list[Item]:
    """Return the items that are no versions yet; one that cannot be read counts as new."""
    from kept.exchange.importing.run import Known

    known = Known(store, plan.name)
    return [item for item in plan.items if not known.has_noted(item)]


def _print_nothing(plan: Plan, new: list[Item], *, as_json: bool) -> None:
    if not new:
        text = f"Nothing new: {plan.name} has every checkpoint already"
        print_result(text, [], as_json=as_json)


def _print_plan(plan: Plan, new: list[Item], best: Monitored | None, *, all_rows: bool) -> None:
    """Print the plan on stdout if it is the result, else on stderr; metrics have a column each."""
    metrics = list(dict.fromkeys(name for item in new for name in item.facts.metrics))
    columns = [
        Column("checkpoint"),
        *([Column("epoch", right=True)] if any(i.facts.epoch is not None for i in new) else []),
        *([Column("step", right=True)] if any(i.facts.step is not None for i in new) else []),
        *(Column(name, right=True) for name in metrics),
        *([Column("size", right=True)] if any(i.facts.size is not None for i in new) else []),
        Column("saved"),
        *([Column("aliases")] if any(i.facts.aliases for i in new) else []),
        *([Column("note", wraps=True)] if any(i.facts.note for i in new) else []),
    ]
    titles = [column.title for column in columns]
    shown = new if all_rows or len(new) <= _FEW else [*new[: _FEW // 2], *new[-_FEW // 2 :]]
    if shown:
        print_table(columns, [_row(item, metrics, titles) for item in shown])
    if len(shown) < len(new):
        click.echo(f"The table shows the first and last {_FEW // 2}; --dry-run shows all.")
    for line in _remarks(plan, new, best):
        click.echo(clean(line))


def _row(item: Item, metrics: list[str], titles: list[str]) -> list[str]:
    facts = item.facts
    cells = {
        "checkpoint": facts.label,
        "epoch": "" if facts.epoch is None else str(facts.epoch),
        "step": "" if facts.step is None else str(facts.step),
        **{name: metric_text(facts.metrics[name]) for name in metrics if name in facts.metrics},
        "size": "" if facts.size is None else size_text(facts.size),
        "saved": local_time(facts.saved_at) if facts.saved_at else "",
        "aliases": ", ".join(facts.aliases),
        "note": facts.note,
    }
    return [cells.get(title, "") for title in titles]


def _remarks(plan: Plan, new: list[Item], best: Monitored | None) -> list[str]:
    sizes = [item.facts.size for item in new]
    size = "" if None in sizes else f", {size_text(sum(filter(None, sizes)))}"
    text = f"{counted(len(new), 'checkpoint')}{size}, as versions of {plan.name}"
    lines = [text]
    if known := len(plan.items) - len(new):
        lines.append(f"{counted(known, 'checkpoint')} imported before")
    if best is not None:
        extreme = "lowest" if best.mode == "min" else "highest"
        lines.append(f"best: the {extreme} {best.name}")
    if plan.left_out:
        names = ", ".join(plan.left_out[:_SOME]) + (", …" if len(plan.left_out) > _SOME else "")
        lines.append(f"Left out: {counted(len(plan.left_out), 'other file')} ({names})")
    return [*lines, *plan.notes]


def _report(store: Store, plan: Plan, done: list[Result], *, as_json: bool) -> None:
    """Print what was imported; raises ImportFailed if something was not."""
    from kept.exchange.importing.run import problems, withheld_by

    new = [result.version for result in done if result.version is not None]
    failed = problems(done)
    known = len(done) - len(new) - len(failed)
    stored, size = sum(v.bytes_new or 0 for v in new), sum(v.size for v in new)
    text = f"Imported {counted(len(new), 'checkpoint')}"
    if new:
        span = new[0].reference + (f" to {new[-1].version}" if len(new) > 1 else "")
        text += f" as {span}: {size_text(size)}, {size_text(stored)} of it new"
    if known:
        text += f"; {known} imported before"
    print_result(text, [version_json(version) for version in new], as_json=as_json)
    if withheld := withheld_by(new):
        click.echo(f"Note: {clean(withheld_text(plan.name, withheld, store.location))}", err=True)
    for line in failed if not as_json else ():
        click.echo(f"Not imported: {clean(line)}", err=True)
    if failed:
        what = "; ".join(failed[:_SOME]) if as_json else "the lines above say why"
        raise ImportFailed(f"{counted(len(failed), 'checkpoint')} not imported: {what}")


def _planned_json(item: Item) -> dict[str, Any]:
    facts = item.facts
    return {
        "checkpoint": facts.label,
        "epoch": facts.epoch,
        "step": facts.step,
        "metrics": check_metadata(facts.metrics, "metrics"),
        "size": facts.size,
        "saved_at": facts.saved_at,
        "aliases": list(facts.aliases),
        "imported_from": facts.origin,
    }

"""kept metric: values of a version that were measured after its save."""

from __future__ import annotations

from math import isinf
from reprlib import repr as short
from typing import TYPE_CHECKING

import click

from kept.cli.common import json_option, opened, version_json
from kept.cli.completion import references
from kept.cli.output import Column, clean, local_time, print_json, print_table
from kept.errors import InvalidMetadata
from kept.units import metric_text

if TYPE_CHECKING:
    from kept.store.version import Version


@click.command(short_help="Log metrics of a version, measured after its save.")
@click.argument("ref", shell_complete=references)
@click.argument("values", metavar="[NAME=VALUE]...", nargs=-1)
@click.option("--dataset", metavar="NAME", help="The data that the values were measured on.")
@json_option
@click.pass_obj
def metric(
    location: str | None,
    ref: str,
    values: tuple[str, ...],
    *,
    dataset: str | None,
    as_json: bool,
) -> None:
    """Log metrics of a version; without NAME=VALUE, print what was logged.

    The newest value of a metric counts, and earlier ones stay in the history. A value with a data
    set is also the metric NAME@DATASET.
    """
    if dataset is not None and not values:
        raise click.UsageError("--dataset needs one or more NAME=VALUE.")
    metrics = _parsed(values)
    version = opened(location).version(ref)
    if metrics:
        version = version.log_metrics(metrics, dataset=dataset)
    if as_json:
        print_json(version_json(version))
    elif metrics:
        shown = ", ".join(f"{name} {metric_text(value)}" for name, value in metrics.items())
        click.echo(clean(f"{version.reference}: {shown}"))
    else:
        _print_logged(version)


def _parsed(values: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for given in values:
        name, equals, text = given.rpartition("=")
        if not equals or not name:
            raise click.UsageError(f"A metric is written as NAME=VALUE. Received: {given!r}")
        if name in found:
            raise click.UsageError(f"The metric {name!r} has two values.")
        found[name] = _number(name, text)
    return found


def _number(name: str, text: str) -> float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        raise InvalidMetadata(f"The metric {name!r} is a number. Received: {short(text)}") from None
    if isinf(value) and any(map(str.isdigit, text)):
        raise InvalidMetadata(
            f"The metric {name!r} is too large: a number has at most 64 bits. "
            f"Received: {short(text)}"
        )
    return value


def _print_logged(version: Version) -> None:
    logged = version.record.changes.logged
    if not logged:
        click.echo(f"No metric of {version.reference} was logged after its save.", err=True)
        return
    columns = [Column("metric", wraps=True), Column("value", right=True), Column("data set"),
               Column("evaluation"), Column("logged"), Column("by", wraps=True)]  # fmt: skip
    print_table(columns, [
        [each.name, metric_text(each.value), each.dataset or "", each.evaluation or "",
         local_time(each.time), each.by or ""]
        for each in sorted(logged, key=lambda each: (each.time, each.name))
    ])  # fmt: skip

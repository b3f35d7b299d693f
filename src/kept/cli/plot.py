"""kept plot: draws the metrics of artifacts, in the terminal or as a file."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import json_option, opened
from kept.cli.completion import artifact_names
from kept.cli.layout import terminal_columns
from kept.cli.output import clean, print_json
from kept.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.charts.parts.series import By
    from kept.charts.rows import Point
    from kept.store.store import Store

_SUFFIXES = (".svg", ".png", ".json")
_NAMED = 12  # metrics in an error
_HEIGHT = 20  # lines
_WIDTH, _ALONE, _ONE_OF_MANY = 820, 360, 220  # pixels of a file


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=artifact_names)
@click.option(
    "-m", "--metric", "metrics", multiple=True, metavar="METRIC",
    help="Which metric; repeat for more. Default: the one that decides which version is the best.",
)  # fmt: skip
@click.option(
    "--by",
    type=click.Choice(["epoch", "version", "time"]),
    help="What the x axis shows. Default: epoch, or version if no epoch is known.",
)
@click.option("--log", "is_log", is_flag=True, help="Draw the values on a log scale.")
@click.option(
    "--out", type=click.Path(dir_okay=False), metavar="FILE",
    help="Write a file: .svg, .png, or .json for the Vega-Lite specification.",
)  # fmt: skip
@click.option("--dark", is_flag=True, help="Draw the file in light colours for a dark page.")
@json_option
@click.pass_obj
def plot(location: str | None, /, names: tuple[str, ...], out: str | None, **asked: Any) -> None:
    """Draw the metrics of an artifact, or of several in one chart.

    NAME is an artifact, or a glob such as 'run_*'. A star marks the version with the alias best.
    --json prints the Vega-Lite specification, or with --out the name of the file.
    """
    if out is not None and not out.lower().endswith(_SUFFIXES):
        raise click.UsageError(f"--out takes a file that ends with .svg, .png or .json: {out!r}")
    if asked["dark"] and out is None:
        raise click.UsageError("--dark is for a file: add --out FILE.")
    store = opened(location)
    chosen = _Chosen.of(store, _existing(store, names), asked["metrics"])
    by = asked["by"] or chosen.usual_axis
    if out is None and not asked["as_json"]:
        click.echo(drawn(chosen, by, is_log=asked["is_log"]))
        return
    from kept.charts.look import stacked

    spec = stacked(chosen.specs(by, is_log=asked["is_log"], is_dark=asked["dark"]))
    if out is not None:
        _write(out, spec)
    if asked["as_json"]:
        print_json(spec if out is None else {"file": out})
    else:
        click.echo(f"Wrote {clean(str(out))}.", err=True)


def chart_of(store: Store, name: str) -> str:
    """Return the chart of an artifact for the terminal; kept ls --plot prints it."""
    chosen = _Chosen.of(store, [name], ())
    return drawn(chosen, chosen.usual_axis, is_log=False)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What is drawn: versions of artifacts, and some of their metrics."""

    points: list[Point]
    metrics: list[str]

    @classmethod
    def of(cls, store: Store, names: Sequence[str], metrics: Sequence[str]) -> _Chosen:
        """Read the versions; raises InvalidInput for a metric that none of them has."""
        from kept.store.display.measured import metric_names, monitor_of, points_of
        from kept.store.log.lookup import records_of, view_of

        points: list[Point] = []
        known: dict[str, None] = {}
        for name in names:
            view = view_of(store.logs, name)
            records = list(records_of(view))
            monitor = monitor_of(view, records)
            known |= dict.fromkeys(metric_names(records, monitor))
            points += points_of(records, monitor, name if len(names) > 1 else "")
        if not known:
            raise InvalidInput(
                f"{' and '.join(names)}: no version has a metric. Callbacks log metrics, and so "
                "does kept metric."
            )
        for metric in metrics:
            _check(metric, list(known))
        return cls(points, list(dict.fromkeys(metrics)) or list(known)[:1])

    @property
    def usual_axis(self) -> By:
        """The epoch, or the version if no epoch is known."""
        return "epoch" if any(point.epoch is not None for point in self.points) else "version"

    def specs(self, by: By, *, is_log: bool, is_dark: bool) -> list[dict[str, Any]]:
        """Return a chart for each group of metrics whose values share an axis."""
        from kept.charts.look import DARK, LIGHT, Look
        from kept.charts.metrics import axis_groups, metric_chart
        from kept.charts.parts.series import Axes

        groups = [self.metrics] if is_log else axis_groups(self.points, self.metrics)
        height = _ALONE if len(groups) == 1 else _ONE_OF_MANY
        look = Look(DARK if is_dark else LIGHT, _WIDTH, height)
        return [metric_chart(self.points, group, Axes(by, is_log), look) for group in groups]


def drawn(chosen: _Chosen, by: By, *, is_log: bool) -> str:
    """Return the charts for the terminal, one below the other."""
    from kept.charts.metrics import axis_groups
    from kept.charts.parts.series import Axes
    from kept.charts.terminal import Terminal, draw

    terminal = Terminal(
        terminal_columns(),
        _HEIGHT,
        has_colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR"),
        is_ascii=not _takes("●⠤┌"),
    )
    groups = [chosen.metrics] if is_log else axis_groups(chosen.points, chosen.metrics)
    charts = [draw(chosen.points, group, Axes(by, is_log), terminal) for group in groups]
    return "\n\n".join(charts)


def _existing(store: Store, names: Sequence[str]) -> list[str]:
    """Return the artifacts that names and globs mean, in their order."""
    found: dict[str, None] = {}
    for name in names:
        if not any(sign in name for sign in "*?["):
            found[name] = None
            continue
        fitting = [each for each in store.logs.with_versions() if fnmatchcase(each, name)]
        if not fitting:
            raise InvalidInput(f"No artifact fits {name!r} in {store.location}.")
        found |= dict.fromkeys(sorted(fitting))
    return list(found)


def _check(metric: str, known: list[str]) -> None:
    if metric in known:
        return
    from difflib import get_close_matches

    close = get_close_matches(metric, known, 3)
    meant = f"Did you mean {' or '.join(close)}? " if close else ""
    more = ", …" if len(known) > _NAMED else ""
    raise InvalidInput(
        f"No version has the metric {metric!r}. {meant}Existing: {', '.join(known[:_NAMED])}{more}."
    )


def _write(out: str, spec: dict[str, Any]) -> None:
    from kept.charts.render import png, svg

    suffix = os.path.splitext(out)[1].lower()
    if suffix == ".png":
        data = png(spec)
    elif suffix == ".svg":
        data = svg(spec).encode()
    else:
        import json

        data = json.dumps(spec, indent=1).encode()
    with open(out, "wb") as file:
        file.write(data)


def _takes(text: str) -> bool:
    """Return whether stdout can print a text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True

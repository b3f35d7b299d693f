"""kept best: which metric decides the alias best of an artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import json_option, opened, print_result, version_json
from kept.cli.completion import artifact_names
from kept.errors import VersionNotFound
from kept.units import metric_text

if TYPE_CHECKING:
    from kept.store.artifact import Artifact
    from kept.store.version import Version


@click.command(short_help="Choose the metric that decides the alias best.")
@click.argument("name", shell_complete=artifact_names)
@click.option("--monitor", metavar="METRIC", help="Decide by this metric from now on.")
@click.option("--mode", type=click.Choice(["min", "max"]), help="Which direction is better.")
@click.option("--clear", is_flag=True, help="Let the metrics of the callbacks decide again.")
@json_option
@click.pass_obj
def best(
    location: str | None,
    /,
    name: str,
    *,
    clear: bool,
    as_json: bool,
    **metric: str | None,
) -> None:
    """Choose the metric that decides which version of NAME is best; without options, print it.

    From then on, the alias moves with each later version and each metric that is logged later,
    whatever callbacks monitor. Without --mode, earlier versions or the name of the metric give
    its direction.
    """
    monitor, mode = metric["monitor"], metric["mode"]
    if (clear and monitor) or (mode and not monitor):
        raise click.UsageError("Write --monitor METRIC [--mode max|min], or --clear.")
    artifact = opened(location).artifact(name)
    changes = clear or monitor is not None
    version = artifact.set_best(monitor, mode) if changes else _best(artifact)
    rule = artifact.best_rule
    shape: dict[str, Any] = {
        "name": name,
        "monitor": rule and rule.monitor,
        "mode": rule and rule.mode,
        "best": version and version_json(version),
    }
    by = str(rule) if rule else "the metric of the callbacks"
    text = f"{name}:best is by {by}: {_shown(artifact, version)}"
    print_result(text, shape, as_json=as_json)


def _best(artifact: Artifact) -> Version | None:
    try:
        return artifact.best()
    except VersionNotFound:
        return None


def _shown(artifact: Artifact, version: Version | None) -> str:
    if version is None:
        return "no version has it so far"
    rule = artifact.best_rule
    value = rule and rule.value(version.record)
    return version.reference if value is None else f"{version.reference}, {metric_text(value)}"

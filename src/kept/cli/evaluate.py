"""kept evaluate: a command measures versions, and its metrics are logged."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from kept.cli.common import json_option, opened
from kept.cli.completion import references
from kept.cli.output import Column, clean, print_json, print_table
from kept.cli.sign import signed_by_option
from kept.errors import ArtifactNotFound, CommandFailed, KeptError, VersionNotFound
from kept.units import counted, metric_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.describe.evaluate import Evaluation
    from kept.store.store import Store
    from kept.store.version import Version

_HELP = """Run COMMAND for each version, and log the metrics that it prints.

\b
kept evaluate mnist --name test -- python test.py
kept evaluate mnist:best --name test --dataset cifar10 -- ./test.sh
kept evaluate 'run_*' --all --name test -- python test.py

The files of a version are in a temporary folder. The environment has KEPT_CHECKPOINT (the file of
the model, or else the folder), KEPT_FOLDER, KEPT_REFERENCE and KEPT_STORE. The last line of its
stdout that is a JSON object of numbers is logged. All other output goes to stderr.

Versions that have metrics of this evaluation already are skipped. If the command fails, nothing
is logged for that version.
"""
_GLOB = "*?["


class _Result(NamedTuple):
    version: Version
    status: str  # "evaluated", "skipped", "deleted" or "failed"
    metrics: dict[str, float | str]
    error: KeptError | None = None


@click.command(help=_HELP, short_help="Run a command on versions, and log its metrics.")
@click.argument("target", metavar="NAME[:REF]|GLOB", shell_complete=references)
@click.argument("command", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED)
@click.option("--name", required=True, metavar="EVALUATION", help="The name of this measurement.")
@click.option("--all", "--each", "every", is_flag=True, help="All versions, not only the newest.")
@click.option("--dataset", metavar="NAME", help="The data that the command measures with.")
@click.option("--force", is_flag=True, help="Also versions that are evaluated already.")
@click.option("--timeout", metavar="TIME", help="End the command after 30s, 10m, 2h, …")
@signed_by_option
@json_option
@click.pass_obj
def evaluate(
    location: str | None, /, target: str, command: tuple[str, ...], *, every: bool, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Run a command on versions, and log its metrics."""
    if not command:
        raise click.UsageError(
            "The command is missing. Write it after --, as in: -- python test.py"
        )
    store = opened(location, require_signed=options.pop("signed_by") or None)
    evaluation = _evaluation(command, **options)
    versions, results = list(_chosen(store, target, every=every)), []
    for version in versions:
        result = _evaluated(store, version, evaluation)
        if len(versions) == 1 and result.error:
            raise result.error
        if result.status == "failed":
            click.echo(f"Error: {clean(str(result.error))}", err=True)
        results.append(result)
    failed = [result for result in results if result.status == "failed"]
    _print(results, evaluation, as_json=as_json)
    if failed:
        raise CommandFailed(f"{len(failed)} of {counted(len(results), 'evaluation')} failed.")


def _evaluation(
    command: tuple[str, ...], name: str, dataset: str | None, timeout: str | None, *, force: bool
) -> Evaluation:
    import shutil

    from kept.store.describe.command import Command
    from kept.store.describe.evaluate import Evaluation
    from kept.units import parse_span

    seconds = None if timeout is None else parse_span(timeout, "--timeout").total_seconds()
    found = Evaluation(name, Command(command, seconds), dataset, force)
    found.check()
    if shutil.which(command[0]) is None:  # before any download
        raise CommandFailed(f"The command cannot be started: {command[0]!r} is no program in PATH.")
    return found


def _chosen(store: Store, target: str, *, every: bool) -> Iterator[Version]:
    """Yield the versions that a target names, those of an artifact oldest first."""
    name, colon, selector = target.partition(":")
    if every and (colon or "@" in target):
        raise click.UsageError(f"--all takes names or patterns. Received: {target!r}")
    if not any(sign in name for sign in _GLOB):
        yield from store.versions(name) if every else [store.version(target)]
        return
    for found in _matching(store, name):
        if every:
            yield from store.versions(found)
            continue
        try:
            yield store.version(found + colon + selector)
        except VersionNotFound:  # an artifact without this alias, or without versions
            continue


def _matching(store: Store, pattern: str) -> list[str]:
    from fnmatch import fnmatchcase

    names = [name for name in store.logs.with_versions() if fnmatchcase(name, pattern)]
    if not names:
        raise ArtifactNotFound(f"No artifact in {store.location} matches {pattern!r}.")
    return names


def _is_deleted(store: Store, version: Version) -> bool:
    try:
        store.version(version.reference)
    except VersionNotFound:
        return True
    return False


def _evaluated(store: Store, version: Version, evaluation: Evaluation) -> _Result:
    if evaluation.force or not version.record.changes.evaluated(evaluation.name):
        click.echo(clean(f"Evaluating {version.reference}"), err=True)
    try:
        log = store.log(version.name)
        outcome = evaluation.of(log, version, store.location, sys.stderr)
    except KeptError as error:
        is_deleted = _is_deleted(store, version)  # since the versions were listed
        return _Result(version, "deleted" if is_deleted else "failed", {}, error)
    return _Result(version, "evaluated" if outcome.is_new else "skipped", outcome.metrics)


def _print(results: list[_Result], evaluation: Evaluation, *, as_json: bool) -> None:
    if as_json:
        print_json([_json(result, evaluation) for result in results])
        return
    columns = [Column("version"), Column("status"), Column("metrics", wraps=True)]
    print_table(columns, [
        [result.version.reference, result.status,
         ", ".join(f"{name} {metric_text(value)}" for name, value in result.metrics.items())]
        for result in results
    ])  # fmt: skip


def _json(result: _Result, evaluation: Evaluation) -> dict[str, Any]:
    found = {
        "reference": result.version.reference,
        "evaluation": evaluation.name,
        "dataset": evaluation.dataset,
        "status": result.status,
        "metrics": result.metrics,
    }
    return found if result.error is None else found | {"error": str(result.error)}

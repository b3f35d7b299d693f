"""Finds what a user wants to import: a folder, an artifact of W&B, or a run of MLflow."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

from kept.errors import InvalidInput, InvalidPath
from kept.exchange.importing.folder import Options, plan_folder
from kept.exchange.importing.item import name_from
from kept.exchange.importing.run import import_plan, monitored, problems, withheld_by
from kept.names import check_name
from kept.store.open import open_store
from kept.store.promotion.protected import withheld_text
from kept.store.store import Store

if TYPE_CHECKING:
    from kept.exchange.importing.item import Plan
    from kept.store.version import Version

_FACTS = 2**16  # bytes of a file of MLflow
WANDB, MLFLOW = "wandb:", "mlflow:"


def import_checkpoints(  # noqa: PLR0913 - public: what names say, and what is best
    source: str | os.PathLike[str],
    name: str | None = None,
    store: Store | str | os.PathLike[str] | None = None,
    *,
    pattern: str | None = None,
    monitor: str | None = None,
    mode: str | None = None,
    first_epoch: int | None = None,
) -> list[Version]:
    """Commit the checkpoints of another program, each as a version, once; return the new ones.

    A checkpoint that is a version of the artifact already, or was one, is not imported again. So a
    second call adds what is new. A warning names each checkpoint that cannot be used. Every version
    has the time of the checkpoint as saved_at in its metadata, and imported_from.

    Args:
        source: A folder of checkpoint files, "wandb:ENTITY/PROJECT/ARTIFACT", "mlflow:RUN_ID", or
            the folder of a run of MLflow.
        name: The artifact's name. By default, that of the folder, artifact or run.
        store: A Store, or its location as open_store takes it.
        pattern: The filepath of the run that wrote a folder, such as
            "weights.{epoch:02d}-{val_loss:.2f}.keras". By default, kept guesses what names say.
        monitor: The metric that decides which version becomes best. By default, the only metric,
            if its name says which direction is better, and nothing else has chosen a best version.
        mode: "min" or "max" of that metric, if its name does not say it.
        first_epoch: The number of the first epoch in names: 1, as Keras counts, or 0.

    Raises:
        InvalidPath: The folder has no checkpoint.
        InvalidInput: An option cannot be used, or a package is missing.
        NotFound: The server has no such artifact or run.
        OSError: A version could not be committed; those before it stay.
    """
    target = store if isinstance(store, Store) else open_store(store)
    plan = plan_of(source, name, Options(pattern, monitor, first_epoch))
    best = monitored(target, plan, monitor, mode)
    results = list(import_plan(target, plan, best))
    for line in problems(results):
        warnings.warn(f"Not imported: {line}", stacklevel=2)
    new = [result.version for result in results if result.version is not None]
    if withheld := withheld_by(new):
        warnings.warn(withheld_text(plan.name, withheld, target.location), stacklevel=2)
    return new


def plan_of(source: str | os.PathLike[str], name: str | None, options: Options) -> Plan:
    """Return the plan of an import; raises what import_checkpoints raises."""
    text = os.fspath(source)
    if name is not None:
        check_name(name)
    if options.first_epoch not in (None, 0, 1):
        raise InvalidInput(f"first_epoch is 0 or 1. Received: first_epoch={options.first_epoch!r}")
    if text.startswith(WANDB):
        _check_no_names(options)
        from kept.exchange.importing.from_wandb import plan_wandb

        return plan_wandb(text.removeprefix(WANDB), name)
    if text.startswith(MLFLOW) or _is_mlflow_run(text):
        _check_no_names(options)
        from kept.exchange.importing.mlflow.plan import plan_for, run_at

        run = run_at(text.removeprefix(MLFLOW))
        return plan_for(run, name or name_from(run.run.name or run.run.id))
    return plan_folder(text, name or name_from(os.path.basename(os.path.abspath(text))), options)


def _is_mlflow_run(folder: str) -> bool:
    """Return whether a folder is that of a run in the files of MLflow.

    Raises InvalidPath for the folder of an experiment, which has several runs.
    """
    facts = os.path.join(folder, "meta.yaml")
    if not os.path.isfile(facts):
        return False
    with open(facts, encoding="utf-8", errors="replace") as file:
        text = file.read(_FACTS)
    if "run_id:" in text:
        return True
    if "experiment_id:" in text:
        raise InvalidPath(
            "This folder is an experiment of MLflow. Name the folder of one of its runs, "
            f"such as {os.path.join(folder, 'RUN_ID')}. Received: {folder}"
        )
    return False


def _check_no_names(options: Options) -> None:
    given = {"pattern": options.pattern, "first_epoch": options.first_epoch}
    for option, value in given.items():
        if value is not None:
            raise InvalidInput(
                f"{option} is about the names of files in a folder. Received: {option}={value!r}"
            )

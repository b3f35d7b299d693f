"""The text and the signature of the options in every callback, and the check of their names."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from kept.names import suggestion
from kept.training.options import Options, WandbOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

_Class = TypeVar("_Class", bound=type)

# What to pass here, with {} for the given value, and how other callbacks call it.
_ELSEWHERE = {
    "keep=kept.Keep(last={})": (
        "max_to_keep save_total_limit total_limit checkpoints_total_limit keep_checkpoint_max "
        "num_to_keep n_saved keep_last max_checkpoints"
    ),
    "keep=kept.Keep(best={})": "save_top_k keep_best",
    "keep=kept.Keep(every='{} epochs'), or save_freq as a number of batches": (
        "every_n_epochs every_epochs period"
    ),
    "keep=kept.Keep(every='{} steps')": "keep_period",
    "keep=kept.Keep(every='{}h')": "keep_checkpoint_every_n_hours",
    "keep=kept.Keep(within='7d')": "keep_time_interval max_age",
    "save_freq={}": (
        "every_n_train_steps every_n_batches save_steps save_interval save_interval_steps "
        "save_checkpoints_steps save_frequency frequency checkpoint_frequency freq interval"
    ),
    "save_freq='epoch' or a number of batches": "save_strategy every_epoch save_on_train_epoch_end",
    "save_every={}": "train_time_interval save_checkpoints_secs save_interval_seconds",
    "monitor={}": "metric metric_for_best_model checkpoint_score_attribute best_fn",
    "mode='min' or 'max'": "greater_is_better checkpoint_score_order best_mode",
    "resume=True": (
        "load_weights_on_restart resume_from_checkpoint resume_from restore ckpt_path auto_resume"
    ),
    "save_weights_only=True": "weights_only save_only_model",
    "save_best_only=True": "best_only only_best save_best",
    "filepath={}": "path file_path filename fname checkpoint_name",
    "store={} for versions, or filepath for files": (
        "dirpath directory dir save_dir output_dir backup_dir folder location bucket url uri"
    ),
    "name={}": "artifact artifact_name model_name registered_model_name collection",
    "aliases={}": "alias",
    "metadata={}": "meta config extra",
    "background={}": (
        "save_on_background asynchronous async_save enable_async_checkpointing use_async"
    ),
    "keep_local={}": "delete_checkpoint delete_local",
    "on_health='stop'": "terminate_on_nan stop_on_nan check_finite detect_nan nan_guard",
    "grace_seconds=30": "save_before_preemption save_on_exception",
    "on_commit={}": "on_save after_save post_save callback hook",
    "mirror={}": "mirrors backup copy_to",
    "compression='auto'": "compress",
}
_NOT_NEEDED = {
    "tags": "a version gets tags later: version.update(tags=[...]), for example in on_commit=",
    "tag": "a version gets tags later: version.update(tags=[...]), for example in on_commit=",
    "save_last": "the newest version always stays, with the alias latest",
    "load_best_model_at_end": "the best version is store['NAME:best'], so call its load_model()",
    "save_optimizer_state": "a whole model and its weights are saved with the optimizer's state",
    "include_optimizer": "a whole model and its weights are saved with the optimizer's state",
    "restore_best_weights": "the best version is store['NAME:best'], so call its load_weights",
}
OPTIONS_DOC = """\
        store: A Store, or its location as open_store takes it. In object storage a checkpoint is
            first durable on the disk ($KEPT_OUTBOX, or kept-outbox in the working directory), and
            becomes a version when it is uploaded. The next run or `kept sync` uploads the rest.
        name: The artifact's name. The default is run_<run id>_model with the id of $WANDB_RUN_ID,
            or with a random id, the same for the whole process. An existing artifact is continued.
            docs/best.md says which of its versions is the best.
        background: False saves everything on the training thread.
        mirror: Where each version is copied after its commit: a Store, a location, or a list of
            these. Training never waits for a mirror. A mirror that fails is reported once and
            tried again; the next run or `kept sync` copies what it lacks at the end.
        resume: True continues from the newest version of the artifact, if it has one. A reference
            continues from that version, which may be of another artifact. docs/resume.md says what
            is restored.
        save_every: Save by the clock too, at the end of a batch: "30s", "10min", "2h", "1d",
            seconds or a timedelta. Such a version is for resuming and never becomes best.
        grace_seconds: How long the process may live after SIGTERM. The run is then saved at the
            end of the batch, as for save_every, and the process ends with exit code 143. None
            ignores SIGTERM, and so does kept if the program has its own handler.
        state_of: The callbacks whose state is saved for resuming. The default is all callbacks of
            the fit that have a state.
        aliases: More aliases for every version, besides kept's own; none that is protected.
        metadata: More metadata for every version. A key of kept's own has kept's value.
        on_commit: A function that is called with each version, on a thread of its own, once the
            version is durable in the store. A dict of numbers that it returns is logged as metrics
            of the version. Training never waits for it, and an error in it is only printed.
            docs/automations.md has examples.
        uses: What the versions are made from: a list of "name:v3" or "name:alias" of this store,
            of the same after the location of another store and a slash, of kept.Version and
            kept.Source. docs/provenance.md has examples.
        capture: False leaves out where the versions come from: code, command line and environment.
        keep: Which versions stay, a kept.Keep. It is applied after each commit, in the background,
            and deletes the other versions. The default keeps all.
        gc: How long a deleted version can be undeleted. After that a gc of these versions alone
            frees their bytes beside the training. On a full disk it frees them at once, and the
            save is tried again. None leaves that to `kept gc`.
        keep_local: Which files stay at filepath. False removes a file once its version is safe, so
            one stays only if that failed. A number keeps the newest files, a kept.Keep those of
            its rules; other files of this artifact are removed once their versions are safe.
        compression: "none" leaves compaction to `kept compact`. "auto" compacts versions in a
            process of its own, while no other program uses the processor. "max" also finishes
            that at the end of the fit, in up to five minutes. Commits take as long with each of
            them. "auto" and "max" work only for a store in a folder. docs/space.md has figures.
        scrub: True reads again, after each commit and beside the training, the blobs that the
            version shares with older ones; each blob once in a fit. "10%" or 0.1 reads a random
            share of them. A damaged blob is set aside, so that the next save stores it again.
        on_error: "raise" ends the training if a checkpoint cannot be saved, for example on a full
            disk. "warn" continues, and tries the next one. Versions committed before are safe.
        on_health: "warn" prints once that a version is unhealthy: NaN, an infinity, an exploded or
            vanished layer, or half of a layer's units dead. Such a version never becomes best.
            "stop" also ends the training. "off" measures nothing. docs/health.md has the rules.
        on_busy: What to do while both snapshots are being written: "wait", or "skip" the
            checkpoint (the attribute skipped counts them).
        group: The processes that train this model together. None finds those of jax.distributed,
            torch.distributed and TensorFlow's cluster; False treats this process as a single one.
            Others are given as an object with Get_rank, Get_size, bcast and allgather (mpi4py).
        group_seconds: How long a process waits for the others of its group, in seconds.
"""

WANDB_OPTIONS_DOC = """\
        ttl: How long W&B keeps each version; a timedelta.
        reference: Upload no bytes, but a reference to the version in store=, which must be in
            object storage.
        run: The run that gets the checkpoints, as wandb.init returns it; None is the active one.
"""


def check_options(
    callback: object, given: Mapping[str, Any], kind: type[Options] = Options
) -> Options:
    """Return the options; raises InvalidInput, or TypeError for an unknown one."""
    known = {field.name for field in fields(kind)}
    for name, value in given.items():
        if name not in known:
            raise unknown_argument(type(callback), name, value, known)
    return kind(**given)


def unknown_argument(callback: type, name: str, value: object, known: set[str]) -> TypeError:
    """Return the error for an argument that a callback lacks, with what to pass instead."""
    every = known | {*inspect.signature(callback.__init__).parameters}  # type: ignore[misc]
    return TypeError(
        f"{callback.__name__} has no argument {name!r}"
        f"{_instead(name, value, every) or suggestion(name, every) or '.'} "
        f"Its arguments besides those of Keras: {', '.join(sorted(known))}"
    )


def _instead(name: str, value: object, known: set[str]) -> str:
    """Return what does here what an argument does elsewhere, as a sentence, or nothing."""
    if name in _NOT_NEEDED:
        return f"; leave it out: {_NOT_NEEDED[name]}."
    shown = repr(value) if isinstance(value, (int, float, str)) else "…"
    for own, others in _ELSEWHERE.items():
        if name in others.split() and own.partition("=")[0] in known:
            if own.startswith("keep=") and value in (None, -1, 0):  # elsewhere, that keeps all
                return "; leave it out: without keep= all versions stay."
            return f"; pass {own.format(shown)}."
    return ""


def documented(callback: _Class) -> _Class:
    """Write the options into a callback's docstring (at {options}) and signature."""
    kind: type[Options] = callback.options_type  # type: ignore[attr-defined]
    text = OPTIONS_DOC + (WANDB_OPTIONS_DOC if kind is WandbOptions else "")
    callback.__doc__ = (callback.__doc__ or "").replace("        {options}\n", text)
    own = inspect.signature(callback.__init__)  # type: ignore[misc]
    shared = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default)
        for f in fields(kind)
    ]
    named = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    callback.__signature__ = own.replace(parameters=[*named[1:], *shared])  # type: ignore[attr-defined]
    return callback

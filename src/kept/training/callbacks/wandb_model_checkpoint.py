"""The callback that uploads to W&B, for Keras 3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from kept.training.callbacks.model_checkpoint import ModelCheckpoint
from kept.training.callbacks.signature import documented
from kept.training.callbacks.wandb_hooks import WandbHooks, told_apart

if TYPE_CHECKING:
    import os

    from kept.training.options import WandbCheckpointOptions


@documented
class WandbModelCheckpoint(WandbHooks, ModelCheckpoint):
    """W&B's WandbModelCheckpoint, with durable uploads and without a stall.

    Each saved checkpoint becomes a version of an artifact of the active run, run_<run id>_model
    of type model. Its aliases are latest, epoch_<n> or epoch_<n>_batch_<b> (counted from 0) and
    best; its metadata are those of kept.ModelCheckpoint. An epoch that saves nothing logs nothing.

    Training waits for no upload. Before a checkpoint is reported, it is in an outbox on the disk
    ($KEPT_OUTBOX, or kept-outbox in the working directory), which holds links to the files and no
    second copy. It leaves the outbox when W&B has confirmed it. After a crash or an outage the next
    run or `kept sync` uploads the rest. In W&B's offline mode all checkpoints wait in the outbox;
    with W&B disabled only the local files are written.

    Without store= no store of kept is written. With it each checkpoint is also a version
    there, and resume works. The best value carries over to the next fit of a run, and to a resumed
    run of W&B.

    Args:
        filepath: Where to save, with format options such as {epoch:02d} and {val_loss:.2f}; epoch
            and batch count from 1 there, as in Keras. docs/wandb.md has the formats.
        monitor: Name of the metric that decides which checkpoint is the best.
        verbose: 0 is silent, 1 prints a line for every checkpoint.
        save_best_only: Save only checkpoints that are better by the metric than all before. Without
            format options in filepath, each better model replaces the local file.
        save_weights_only: Save the weights, not the whole model.
        mode: "min", "max" or "auto".
        save_freq: "epoch", or a number of batches.
        options: A tf.train.CheckpointOptions or tf.saved_model.SaveOptions, for the formats that
            take one. A number here is initial_value_threshold, as W&B's callback has it since 0.31.
        initial_value_threshold: The value that the metric must beat to be the first best.
        {options}

    Raises:
        NoActiveRun: wandb.init() has not been called.
        InvalidCheckpoint: An argument cannot work; the message names it and the reason.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - W&B's signature
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,  # noqa: FBT001, FBT002
        save_weights_only: bool = False,  # noqa: FBT001, FBT002
        mode: str = "auto",
        save_freq: str | int = "epoch",
        options: Any = None,
        initial_value_threshold: float | None = None,
        **kwargs: Unpack[WandbCheckpointOptions],
    ) -> None:
        options, initial_value_threshold = told_apart(options, initial_value_threshold)
        super().__init__(
            filepath,
            monitor,
            verbose,
            save_best_only,
            save_weights_only,
            mode,
            save_freq,
            options=options,
            initial_value_threshold=initial_value_threshold,
            **kwargs,  # type: ignore[misc]  # options_type says that these are taken
        )

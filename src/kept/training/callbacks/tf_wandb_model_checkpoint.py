"""The callback that uploads to W&B, for tf_keras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kept.training.callbacks.signature import documented
from kept.training.callbacks.tf_model_checkpoint import ModelCheckpoint
from kept.training.callbacks.wandb_hooks import WandbHooks

if TYPE_CHECKING:
    import os


@documented
class WandbModelCheckpoint(WandbHooks, ModelCheckpoint):
    """W&B's WandbModelCheckpoint for tf_keras, without what goes wrong with it.

    Each saved checkpoint becomes a version of an artifact of the active run, run_<run id>_model
    of type model, with the aliases latest, epoch_<n> or epoch_<n>_batch_<b> (counted from 0) and
    best, and with the metadata that kept.ModelCheckpoint has. An epoch that saves nothing logs
    nothing.

    Training waits for no upload. A checkpoint is in an outbox on the disk ($KEPT_OUTBOX, or
    kept-outbox in the working directory; links to the files, no second copy) before it is told of,
    and leaves it when W&B has confirmed it; what a crash or an outage leaves there, the next run or
    `kept sync` uploads. In W&B's offline mode everything waits there; with W&B disabled only the
    local files are written.

    Without store= that is all: no store of kept is written. With it each checkpoint is a version
    there too. The best value carries over to the next fit of a run, and to a run of W&B that is
    resumed.

    The file is written on the training thread, and versions hold no state.

    Args:
        filepath: Where to save, with options such as {epoch:02d} and {val_loss:.2f}; epoch and
            batch count from 1 there, as Keras counts. docs/wandb.md has the formats.
        monitor: Name of the metric that says which checkpoint is the best.
        verbose: 0 is silent, 1 tells of every checkpoint.
        save_best_only: Save only what is better by the metric than everything before. Without
            options in filepath, the local file is replaced by each better model.
        save_weights_only: Save the weights, not the whole model.
        mode: "min", "max" or "auto".
        save_freq: "epoch", or a number of batches.
        options: A tf.train.CheckpointOptions or tf.saved_model.SaveOptions, for the formats that
            take one.
        initial_value_threshold: What the metric has to beat to be the first best.
        period: With save_freq="epoch": save every so many epochs.
        load_weights_on_restart: Load the newest file at filepath when fit begins.
        {options}

    Raises:
        NoActiveRun: wandb.init() has not been called.
        InvalidCheckpoint: An argument cannot work; the message says which and why.
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
        **kwargs: Any,
    ) -> None:
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
            **kwargs,
        )

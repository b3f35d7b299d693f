"""Whether a metric should go up or down, as far as its name says so."""

from __future__ import annotations

import re

from kept.errors import InvalidInput

_LOSS = "loss"
# The last words of the names of metrics whose direction is beyond doubt.
_DOWN = {"loss", "error", "err", "mae", "mse", "rmse", "mape", "msle", "perplexity", "ppl",
         "wer", "cer", "fid", "crossentropy", "nll"}  # fmt: skip
_UP = {"acc", "accuracy", "auc", "auroc", "auprc", "f1", "recall", "precision", "iou", "miou",
       "dice", "bleu", "rouge", "map", "ndcg", "r2", "psnr", "ssim"}  # fmt: skip
_WORD = re.compile(r"[a-z0-9]+")


def is_loss(monitor: str) -> bool:
    """Return whether a metric is the loss of Keras, on training or validation data."""
    return monitor.removeprefix("val_") == _LOSS


def mode_of(monitor: str) -> str | None:
    """Return "min" or "max" by the last word of a metric's name; None if that is no known word.

    "test_acc@cifar10" ends with acc: what follows @ names a data set, or the k of a top-k metric.
    """
    words = _WORD.findall(monitor.partition("@")[0].lower())
    if not words:
        return None
    return "min" if words[-1] in _DOWN else "max" if words[-1] in _UP else None


def check_mode(monitor: str, mode: str | None, found: str | None = None) -> str:
    """Return the direction of a metric: the given one, or one that is found, or by its name.

    Raises InvalidInput if there is none.
    """
    if mode not in (None, "min", "max"):
        raise InvalidInput(f"mode is 'min' or 'max'. Received: mode={mode!r}")
    known = mode or found or mode_of(monitor)
    if known is None:
        raise InvalidInput(
            f"The name does not say whether {monitor!r} should go up or down. Pass mode='max' if "
            "higher is better, or mode='min' if lower is better. "
            f"Received: monitor={monitor!r}, mode={mode!r}"
        )
    return known

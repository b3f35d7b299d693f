"""Where the best value of a training begins: afresh, or at that of the training it continues.

The rule of save_best_only: a new training starts afresh, as with Keras's callback. It continues
from an earlier best value if it continues that training: the fit resumes a version, or the file at
filepath is that of a version of the artifact. So each fold of a cross validation gets its file, and
a run that starts again replaces no better file of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.messages import show
from kept.training.monitor import Metric, as_text
from kept.training.save import checkpoint_files

if TYPE_CHECKING:
    from kept.training.decide.best import BestTracker
    from kept.training.decide.parts import Parts


def continue_best(best: BestTracker, parts: Parts, artifact: str, metric: Metric) -> None:
    """Take over an earlier best value if there is a reason, and print which of the two happened.

    A fit that resumes a version with a state has its best value already. Without one it takes the
    value of the file at filepath, or else of the artifact's best version.
    """
    is_resumed = parts.resuming.parent is not None
    if is_resumed and not best.is_fresh:
        return
    destination, path = parts.destination, parts.path.fixed
    files = {} if path is None else checkpoint_files.own_files_of(path, parts.path.format)
    value = destination.value_at(artifact, files, metric)
    if value is None and is_resumed:
        files, value = {}, destination.best(artifact, metric)
    if value is not None:
        if best.continue_from(Metric(metric.name, metric.mode, value)):
            what = f"of {path}" if files else "of this run"
            show(
                f"save_best_only continues from {metric.name} {as_text(value)}, the value {what} "
                f"({artifact})"
            )
        return
    known = destination.best(artifact, metric)
    if best.is_fresh and known is not None:
        show(
            f"save_best_only starts afresh, as a new training; the best {metric.name} of "
            f"{artifact} so far is {as_text(known)}"
        )

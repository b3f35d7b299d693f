"""Variables of TensorFlow that one worker cannot read alone.

With a MultiWorkerMirroredStrategy each worker has its own value of some variables, and reading one
returns the mean of all workers (the moving averages of BatchNormalization) or their sum (metrics).
TensorFlow asks the other workers in each such read. So all must read the same variables in the same
order; a worker that reads alone waits without end, and the next step of the training meets its
read. tf_keras reads them while it writes a file, so every worker would have to write one, in step.

Instead all workers read these variables at the beginning of a save. The first one then writes its
file with the values that it got, and if that fails or is tried again, the others are not concerned.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from kept.training.group.transports.tensorflow_store import place_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Variable = Any  # of tf_keras
Values = list[tuple[Variable, Any]]  # variables with their tensors

_READ = "_get_cross_replica"  # TensorFlow's method behind every read outside of a step


def reading_needs_all(variables: Iterable[Variable]) -> bool:
    """Return whether reading some of these variables takes all processes of the run."""
    return any(map(_is_of_all, variables))


def read_together(model: Any) -> Values:
    """Read what takes all workers, and return it; [] at once if there is nothing of that kind.

    All workers call it in the same hook.
    """
    if "tf_keras" not in sys.modules:
        return []
    metrics = (variable for metric in model.metrics for variable in metric.variables)
    found = {id(one): one for one in (*model.variables, *metrics) if _is_of_all(one)}
    return [(one, one.read_value()) for one in found.values()]


@contextlib.contextmanager
def already_read(values: Values) -> Iterator[None]:
    """Answer reads of these variables with these values while the block runs."""
    for variable, value in values:
        variable.__dict__[_READ] = _Constant(value)
    try:
        yield
    finally:
        for variable, _ in values:
            del variable.__dict__[_READ]


class _Constant:
    """Returns a value at each call."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __call__(self) -> Any:
        return self._value


def _is_of_all(variable: Variable) -> bool:
    tf = sys.modules.get("tensorflow")
    if tf is None or not isinstance(variable, tf.Variable):
        return False
    return (
        variable.synchronization is tf.VariableSynchronization.ON_READ
        and variable.aggregation is not tf.VariableAggregation.ONLY_FIRST_REPLICA
        and place_in(getattr(variable, "distribute_strategy", None)) is not None
    )

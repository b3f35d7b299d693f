"""The private parts of Keras that kept uses to resume a fit; private_api.py has those of saving.

Keras has no public way to set the first epoch of a fit, or the position in its data. Design note 5
says why kept needs both.
"""
# ruff: noqa: SLF001 - private parts are what this module is for

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    import keras

    from kept.training.snapshot.frameworks import Variable

_GLOBAL_SEEDS = "global_seed_generator"


def build(model: keras.Model, epochs: Any) -> None:
    """Build a model for the batches of a fit, without reading one, if their shapes are known.

    Keras does it on JAX and torch before it calls any callback; TensorFlow builds a model when it
    trains on the first batch.
    """
    import keras
    from keras.src import backend, tree
    from keras.src.trainers.data_adapters import data_adapter_utils

    with contextlib.suppress(Exception):  # the model's own call() may fail; then it is not built
        spec = epochs._get_iterator().element_spec
        batch = tree.map_structure(
            lambda one: keras.KerasTensor(tuple(one.shape), one.dtype.name), spec
        )
        inputs, _, _ = data_adapter_utils.unpack_x_y_sample_weight(batch)
        backend.compute_output_spec(model, inputs, training=False)


def set_first_epoch(model: keras.Model, epoch: int | None) -> None:
    """Set the epoch that fit begins with, as BackupAndRestore does; None is the argument of fit.

    Keras never resets it.
    """
    model._initial_epoch = epoch


def batches_of(epochs: Any) -> Any:
    """Return an iterable over the batches of one more epoch, which Keras would read next.

    On TensorFlow it is a distributed tf.data.Dataset.
    """
    return epochs._get_iterator()


def set_position(epochs: Any, iterator: Iterator[Any], batches: int) -> None:
    """Make an iterator the one that Keras continues with; it has given a number of batches."""
    epochs._current_iterator = iterator
    epochs._steps_seen = batches


def set_number_of_batches(epochs: Any, batches: int | None) -> None:
    """Set how many batches an epoch has, which Keras otherwise learns in the first epoch."""
    epochs._num_batches = batches


def dataset_of(adapter: Any) -> Any:
    """Return the tf.data.Dataset or Grain dataset of an adapter."""
    return adapter._dataset


@contextlib.contextmanager
def replaced_dataset(adapter: Any, dataset: Any) -> Iterator[None]:
    """Give the adapter another dataset for a while."""
    whole = adapter._dataset
    adapter._dataset = dataset
    try:
        yield
    finally:
        adapter._dataset = whole


def loader_of(adapter: Any) -> Any:
    """Return the torch DataLoader of an adapter, None if it has other data."""
    return getattr(adapter, "_dataloader", None)


def shuffles_arrays(adapter: Any) -> bool:
    """Return whether an adapter of arrays shuffles them."""
    return bool(getattr(adapter, "_shuffle", False))


def drop_read_ahead(adapter: Any) -> None:
    """Drop the batches that the workers of a PyDataset have read before the first epoch.

    Keras reads a batch to build the model. What the workers have read after it would come first in
    the first epoch and shift every later epoch. A resumed run would have another shift.
    """
    queue = getattr(getattr(adapter, "enqueuer", None), "ready_queue", None)
    if queue is not None and adapter.num_batches is not None:
        while not queue.empty():
            queue.get_nowait()


def global_seed() -> Variable | None:
    """Return the state of Keras's global seed generator, None if no operation has used it yet."""
    with contextlib.suppress(ImportError, AttributeError):
        from keras.src.backend.common import global_state

        generator = global_state.get_global_attribute(_GLOBAL_SEEDS)
        if generator is not None:
            return generator.state
    return None


def set_global_seed(value: Any) -> None:
    """Set what global_seed returned; None removes the generator."""
    with contextlib.suppress(ImportError, AttributeError):
        from keras.src.backend.common import global_state
        from keras.src.random import seed_generator

        if value is None:
            global_state.set_global_attribute(_GLOBAL_SEEDS, None)
        else:
            seed_generator.global_seed_generator().state.assign(value)


def tensorflow_seeds() -> random.Random | None:
    """Return the generator of seeds for eager operations of TensorFlow that have none.

    None if no seed was set, or if this TensorFlow keeps the generator elsewhere.
    """
    with contextlib.suppress(AttributeError, ImportError):
        from tensorflow.python.eager import context

        generator: random.Random | None = context.context()._rng
        return generator
    return None


def hidden_random_operations(model: keras.Model) -> list[str]:
    """Return TensorFlow's random operations in the training step whose state is hidden.

    `tf.random.normal` and the like count inside the graph. Those of keras.random and of a
    tf.random.Generator take their state from a variable. Empty on other frameworks, and without a
    graph.
    """
    with contextlib.suppress(AttributeError, ImportError):
        from tensorflow.python.framework import op_def_registry

        names: set[str] = set()
        for function in _traced(model.train_function):
            graph = function.graph.as_graph_def()
            nodes = [graph.node, *(one.node_def for one in graph.library.function)]
            names |= {node.op for some in nodes for node in some}
        found = [(name, op_def_registry.get(name)) for name in sorted(names)]
        return [
            name
            for name, definition in found
            if definition is not None and any(one.name == "seed2" for one in definition.attr)
            if definition.is_stateful and "Dataset" not in name
        ]
    return []


def _traced(function: Any, depth: int = 4) -> list[Any]:
    """Return the traced functions in a function of Keras, which holds them in its closure."""
    if hasattr(function, "_list_all_concrete_functions"):
        return list(function._list_all_concrete_functions())
    if not depth:
        return []
    cells = getattr(function, "__closure__", None) or ()
    return [one for cell in cells for one in _traced(cell.cell_contents, depth - 1)]

"""The variables that a checkpoint of a model holds, also those that the model does not list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kept.training.snapshot.change import is_of_keras

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import keras

    from kept.training.snapshot.frameworks import Variable
    from kept.training.snapshot.snapshot import Snapshot

# Keras's own containers of a model, which are large and have no optimizer.
_OF_GRAPH = frozenset(
    (
        *("_layers", "_compiled_trainable_state", "_nodes", "_nodes_by_depth"),
        *("_operations", "_operations_by_depth"),
    )
)


def variables_of(
    model: keras.Model,
    extra: Iterable[Variable] = (),
    hidden: Iterable[Variable] | None = None,
) -> list[Variable]:
    """Return every variable that a checkpoint of the model can hold, each once.

    `hidden` are the variables that `untracked` returns, if they are known: the search takes time.
    """
    found = [
        *model.variables,
        *model.metrics_variables,
        *(variable for optimizer in optimizers_of(model) for variable in optimizer.variables),
        *(untracked(model) if hidden is None else hidden),
        *extra,
    ]
    return list({id(variable): variable for variable in found}.values())


def untracked(model: keras.Model) -> list[Variable]:
    """Return the variables that layers hold and that no list of the model has, each once.

    The states of a stateful RNN are such variables, and so is one in a tuple of the user. They are
    in no checkpoint of Keras, so only the state of the run has them.
    """
    import keras

    listed = (*model.variables, *model.metrics_variables)
    known = {id(variable) for variable in listed}
    base = vars(keras.layers.Layer(name="any")).keys()  # Keras's own lists take most of the time
    kinds = (keras.Variable, list, tuple, dict)
    found = {
        id(leaf): leaf
        for part in layers_of(model)
        for name, value in [*vars(part).items()]
        if name not in base and isinstance(value, kinds)
        for leaf in _leaves(value)
        if isinstance(leaf, keras.Variable) and id(leaf) not in known
    }
    return list(found.values())


def seeds_of(model: keras.Model) -> list[Variable]:
    """Return the variables of the layers' seed generators, which are in no checkpoint."""
    weights = {id(variable) for variable in (*model.weights, *model.metrics_variables)}
    return [variable for variable in model.variables if id(variable) not in weights]


def unlike_file(model: keras.Model, snapshot: Snapshot | None) -> list[int]:
    """Return which of model.weights a checkpoint holds in another way, or not, as indices.

    A layer with LoRA saves the product of its two small matrices merged into its kernel, and
    loads them as zeros. A layer of the user may save something else than its variables.
    """
    found = {
        id(variable)
        for layer in layers_of(model)
        for variable in (
            layer.weights if getattr(layer, "lora_enabled", False) else _left_out(layer, snapshot)
        )
    }
    return [n for n, variable in enumerate(model.weights) if id(variable) in found]


def _left_out(layer: keras.layers.Layer, snapshot: Snapshot | None) -> list[Variable]:
    """Return the variables whose values a layer does not save as they are."""
    if is_of_keras(type(layer).save_own_variables):
        return []
    own = [*vars(layer)["_trainable_variables"], *vars(layer)["_non_trainable_variables"]]
    if snapshot is None:  # it is not known what the layer saved
        return own
    saved = snapshot.python.own.get(id(layer), {}).values()
    held = [(variable, snapshot.array(variable)) for variable in own]
    return [
        variable
        for variable, array in held
        if array is None or not any(np.may_share_memory(array, one) for one in saved)
    ]


def metrics_of(model: keras.Model) -> list[Variable]:
    """Return the variables of the metrics, which are in no checkpoint."""
    return list(model.metrics_variables)


def outside_file(model: keras.Model, hidden: Iterable[Variable] | None = None) -> frozenset[int]:
    """Return the ids of variables that no checkpoint of Keras has; for hidden see variables_of."""
    found = untracked(model) if hidden is None else hidden
    return frozenset(id(one) for one in (*metrics_of(model), *seeds_of(model), *found))


def _leaves(value: object, depth: int = 3) -> Iterator[object]:
    """Yield what a container holds, down to a depth, because lists may contain themselves."""
    if not isinstance(value, (list, tuple, dict)):
        yield value
    elif depth:
        for item in [*(value.values() if isinstance(value, dict) else value)]:
            yield from _leaves(item, depth - 1)


def all_optimizers(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """Return the optimizers of a model, each once."""
    return list({id(optimizer): optimizer for optimizer in optimizers_of(model)}.values())


def wraps_modules(model: keras.Model) -> bool:
    """Return whether layers of the model wrap torch modules, which save their own tensors."""
    import keras

    if keras.backend.backend() != "torch":
        return False
    wrapper = keras.layers.TorchModuleWrapper
    return any(isinstance(layer, wrapper) for layer in layers_of(model))


def optimizers_of(model: keras.Model) -> Iterator[keras.optimizers.Optimizer]:
    """Yield all optimizers that Keras saves with the model; a GAN, for example, has several.

    An optimizer is an attribute of the model or of a model in it, or is in a list or dict there.
    """
    import keras

    for part in layers_of(model):
        if isinstance(part, keras.Model):
            for name, value in [*vars(part).items()]:
                for one in () if name in _OF_GRAPH else _leaves(value):
                    if isinstance(one, keras.optimizers.Optimizer):
                        yield one


def layers_of(model: keras.Model) -> Sequence[keras.layers.Layer]:
    """Return the model and all layers in it, at every depth; model.layers has the first level."""
    found: Sequence[keras.layers.Layer] = model._flatten_layers()  # noqa: SLF001
    return found


def own_weights(model: keras.Model) -> list[int]:
    """Return the weights that no gradient changes, as indices; each process changes its own.

    The averages of BatchNormalization are such weights. Those of a frozen layer do not change.
    """
    index = {id(variable): n for n, variable in enumerate(model.weights)}
    found = {
        index[id(variable)]
        for layer in layers_of(model)
        if layer.trainable
        for variable in vars(layer)["_non_trainable_variables"]
        if id(variable) in index
    }
    return sorted(found)

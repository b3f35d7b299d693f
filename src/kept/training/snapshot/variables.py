"""The variables that a checkpoint of a model holds, also those that the model does not list."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import keras

    from kept.training.snapshot.frameworks import Variable


def variables_of(model: keras.Model, extra: Iterable[Variable] = ()) -> list[Variable]:
    """Return every variable that a checkpoint of the model can hold, each once."""
    found = [
        *model.variables,
        *model.metrics_variables,
        *(variable for optimizer in optimizers_of(model) for variable in optimizer.variables),
        *extra,
    ]
    return list({id(variable): variable for variable in found}.values())


def wraps_modules(model: keras.Model) -> bool:
    """Return whether layers of the model wrap torch modules, which save their own tensors."""
    import keras

    if keras.backend.backend() != "torch":
        return False
    wrapper = keras.layers.TorchModuleWrapper
    return any(isinstance(layer, wrapper) for layer in _layers_of(model))


def optimizers_of(model: keras.Model) -> Iterator[keras.optimizers.Optimizer]:
    """Yield all optimizers that Keras saves with the model; a GAN, for example, has several.

    An optimizer is an attribute of the model or of a model in it, or is in a list or dict that is
    such an attribute.
    """
    import keras

    for part in _layers_of(model):
        if isinstance(part, keras.Model):
            for value in [*vars(part).values()]:
                found = value.values() if isinstance(value, dict) else value
                several = found if isinstance(value, (dict, list, tuple)) else [value]
                yield from (one for one in several if isinstance(one, keras.optimizers.Optimizer))


def _layers_of(model: keras.Model) -> Sequence[keras.layers.Layer]:
    """Return the model and all layers in it, at every depth; model.layers has the first level."""
    found: Sequence[keras.layers.Layer] = model._flatten_layers()  # noqa: SLF001
    return found

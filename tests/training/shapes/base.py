"""What the shapes share: a model whose step is written once, and runs on each framework."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FRAMEWORK = keras.backend.backend()
ROWS, WIDTH, BATCH = 16, 4, 4  # four batches an epoch


@dataclass(frozen=True)
class Shape:
    """A way to train, with everything that a user would write."""

    make: Callable[[], keras.Model]  # compiled
    data: Callable[[], tuple[Any, ...]] = field(default=lambda: (features(),))
    callbacks: Callable[[], Sequence[keras.callbacks.Callback]] = tuple
    ending: str = ".weights.h5"
    fit: dict[str, Any] = field(default_factory=dict)  # options of fit
    differs: str | None = None  # what kept says if the resumed run cannot be equal
    is_rare: bool = False  # tested with the integration tests
    frameworks: tuple[str, ...] = ("jax", "tensorflow", "torch")  # where Keras trains it


def features(width=WIDTH, seed=0):
    return np.random.default_rng(seed).normal(size=(ROWS, width)).astype("float32")


def labels(classes=3):
    return np.arange(ROWS) % classes


def mlp(inputs, *widths, name=None, **options):
    dense = [keras.layers.Dense(width, activation="tanh", **options) for width in widths]
    return keras.Sequential([keras.Input((inputs,)), *dense], name=name)


def compiled(model, *args, **options):
    """Compile without XLA on TensorFlow, where it takes seconds."""
    options["jit_compile"] = FRAMEWORK == "jax"
    model.compile(*args, **options)
    return model


def built(model):
    """Build a model after compile: on JAX no variable of an optimizer may join it later."""
    model.build((None, WIDTH))
    return model


class Custom(keras.Model):
    """Trains with step(data), which reads and assigns variables on each framework.

    On JAX the step runs in a scope with the values of the state, as Keras's own trainer does.
    """

    def step(self, data) -> dict[str, Any]:
        raise NotImplementedError

    def train_step(self, *args):
        if FRAMEWORK != "jax":
            return self.step(args[0])
        state, data = args
        lists = self._state()
        pairs = [
            pair for part in zip(lists, state, strict=True) for pair in zip(*part, strict=True)
        ]
        with keras.StatelessScope(state_mapping=pairs) as scope:
            logs = self.step(data)
        return logs, tuple([scope.get_current_value(one) for one in part] for part in lists)

    def _state(self):
        """Return the variables that Keras hands to a step on JAX."""
        own = self.optimizer.variables
        return self.trainable_variables, self.non_trainable_variables, own, self.metrics_variables

    def descend(self, optimizer, variables, loss):
        """Make one step of an optimizer; loss() returns the loss."""
        value, gradients = _GRADIENTS[FRAMEWORK](self, variables, loss)
        if FRAMEWORK == "torch":
            import torch

            with torch.no_grad():
                optimizer.apply(gradients, variables)
        else:
            optimizer.apply(gradients, variables)
        return value

    def prepared(self, optimizer, variables):
        """Return an optimizer beside that of compile, ready to train some variables.

        JAX needs its variables in the state of the model, so there it is built, and a list of the
        model has them. Elsewhere its first step builds it.
        """
        if FRAMEWORK == "jax":
            optimizer.build(variables)
            self.slots = [*getattr(self, "slots", ()), *optimizer.variables]
        return optimizer


def _on_jax(model, variables, loss):
    import jax

    trained = {id(one) for one in variables}
    others = [one for part in model._state() for one in part if id(one) not in trained]

    def of_values(values):
        pairs = [*zip(variables, values, strict=True), *((one, one.value) for one in others)]
        with keras.StatelessScope(state_mapping=pairs) as scope:
            value = loss()
        return value, [scope.get_current_value(one) for one in others]

    (value, updated), gradients = jax.value_and_grad(of_values, has_aux=True)(
        [one.value for one in variables]
    )
    for one, new in zip(others, updated, strict=True):
        one.assign(new)
    return value, gradients


def _on_tensorflow(model, variables, loss):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value = loss()
    return value, tape.gradient(value, [one.value for one in variables])


def _on_torch(model, variables, loss):
    model.zero_grad()
    value = loss()
    value.backward()
    return value, [one.value.grad for one in variables]


_GRADIENTS = {"jax": _on_jax, "tensorflow": _on_tensorflow, "torch": _on_torch}


def gradient_at(call, inputs):
    """Return the gradient of sum(call(inputs)) by the inputs, which can be differentiated again."""
    if FRAMEWORK == "jax":
        import jax

        return jax.grad(lambda x: keras.ops.sum(call(x)))(inputs)
    if FRAMEWORK == "torch":
        import torch

        inputs = inputs.detach().requires_grad_()
        return torch.autograd.grad(call(inputs).sum(), inputs, create_graph=True)[0]
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = call(inputs)
    return tape.gradient(value, inputs)

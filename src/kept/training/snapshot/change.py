"""Whether the Python state that Keras serializes with a model has changed since an earlier look.

Invariant: a look lists every object that Keras's own classes read when they serialize the model,
each with its children at that time. If every listed object still has the same children, nothing
has changed. Objects are compared by identity, because a changed value is another object; the
listed ones are kept, so that no other object can get their place in memory.
"""

from __future__ import annotations

import operator
import types
from itertools import chain, compress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import keras

_LIBRARIES = ("builtins", "torch", "tensorflow", "optree")  # have bases of Keras's classes
_ATOMS = (int, float, complex, str, bytes, bool, type(None))
_CONTAINERS = (list, tuple, set, frozenset, dict)
_VALUES = operator.methodcaller("values")  # TensorFlow wraps dicts
_DICT_OF = operator.attrgetter("__dict__")
# What training changes in every step, and what Keras does not serialize.
_VOLATILE = frozenset(
    (
        *("_losses", "_loss_ids", "_losses_override", "_tracker", "_called", "_parameters"),
        *("train_function", "test_function", "predict_function", "training", "history"),
        *("_jax_state", "_jax_state_synced", "stop_training", "stop_evaluating"),
        *("stop_predicting", "_initial_epoch"),
        *("_epoch_iterator", "_eval_epoch_iterator", "_inbound_nodes", "_outbound_nodes"),
        *("_lock", "_keras_api_names", "_call_context", "_compiled_trainable_state"),
        *("_modules", "_torch_params"),  # torch: see _named
        # Keras 3.10 makes these lists again for every batch on JAX.
        *("_trainable_variable_shardings", "_non_trainable_variable_shardings"),
        *("_optimizer_variable_shardings", "_metrics_variable_shardings"),
    )
)
_UNCHANGING = frozenset(("Variable", "KerasVariable", "KerasTensor", "Node", "Tracker", "Callback"))


class Look:
    """The Python state of a model at one time."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._seen: dict[int, Any] = {}
        self._listed: list[tuple[Any, tuple[Any, ...]]] = []
        waiting: list[Any] = [model]
        while waiting:
            one = waiting.pop()
            if id(one) not in self._seen:
                self._seen[id(one)] = one
                if _has_children(one):
                    children = _children(one)
                    self._listed.append((one, children))
                    waiting += children
        self._flat = _Flat([one for one, _ in self._listed])
        # Whether same children mean the same state: arrays, for example, change in place.
        self.is_sure = not any(_changes_in_place(one) for one in self._seen.values())
        # Whether same children also mean that Keras walks through the same objects.
        objects = (one for one in self._seen.values() if not isinstance(one, _CONTAINERS))
        kinds = {type(one) for one in objects if _has_children(one)}
        self.is_walked_alike = not any(map(_computes_attributes, kinds))

    def is_still_true(self, model: keras.Model) -> bool:
        """Return whether the model is the same one, and nothing of it has changed."""
        if model is not self._model:
            return False
        if self._flat.is_still_true():
            return True
        if not all(_are_same(_children(one), before) for one, before in self._listed):
            return False
        self._flat = _Flat([one for one, _ in self._listed])
        return True

    def has_changed(self, model: keras.Model) -> bool:
        """Return whether something has changed; another thread may train the model meanwhile."""
        try:
            same = all(_are_same(_children(one), before) for one, before in self._listed)
        except RuntimeError:  # a dict got another size
            return True
        return model is not self._model or not same

    def objects(self) -> Iterable[Any]:
        """Return every object of the state."""
        return self._seen.values()


class _Flat:
    """The children of many objects in a row, so that one loop in C compares them.

    Tuples and the like are left out, because they never change.
    """

    def __init__(self, objects: list[Any]) -> None:
        self._functions = [(o, _children(o)) for o in objects if isinstance(o, types.FunctionType)]
        self._lists = [one for one in objects if isinstance(one, (list, set))]
        others = (*_CONTAINERS, types.FunctionType)
        self._objects = [o for o in objects if hasattr(o, "__dict__") and not isinstance(o, others)]
        self._dicts = [one for one in objects if isinstance(one, dict)]
        self._owned = [vars(one) for one in self._objects]
        self._named = [*chain.from_iterable(map(_named, self._objects))]
        self._lengths = self._now_lengths()
        self._names = [*chain.from_iterable(self._named)]
        self._counts = [name not in _VOLATILE for name in self._names]
        self._values = [*self._now_values()]

    def is_still_true(self) -> bool:
        """Return whether all are the same objects; False also if an equal one has come."""
        return (
            all(map(operator.is_, map(_DICT_OF, self._objects), self._owned))
            and self._now_lengths() == self._lengths
            and all(map(operator.is_, chain.from_iterable(self._named), self._names))
            and all(map(operator.is_, self._now_values(), self._values))
            and all(_are_same(_children(one), before) for one, before in self._functions)
        )

    def _now_lengths(self) -> list[int]:
        return [*map(len, chain(self._named, self._dicts, self._lists))]

    def _now_values(self) -> Iterator[Any]:
        own = compress(chain.from_iterable(map(_VALUES, self._named)), self._counts)
        items = chain.from_iterable(map(_VALUES, self._dicts))
        return chain(own, chain.from_iterable(self._dicts), items, chain.from_iterable(self._lists))


def is_of_keras(what: Any) -> bool:
    """Return whether a class or a function is one of Keras itself."""
    return str(getattr(what, "__module__", "")).partition(".")[0] == "keras"


def _has_children(one: Any) -> bool:
    kind = type(one)
    if kind in _ATOMS or isinstance(one, type):
        return False
    if isinstance(one, _CONTAINERS):
        return True
    if isinstance(one, types.FunctionType):
        return one.__name__ == "<lambda>"  # Keras saves what it has from outside
    names = {base.__name__ for base in kind.__mro__ if is_of_keras(base)}
    return bool(names or hasattr(one, "get_config")) and not names & _UNCHANGING


def _children(one: Any) -> tuple[Any, ...]:
    if isinstance(one, dict):
        return (*one.keys(), *one.values())
    if isinstance(one, _CONTAINERS):
        return tuple(one)
    if isinstance(one, types.FunctionType):
        return (one.__code__, one.__defaults__, *(one.__closure__ or ()))
    attributes = dict(chain.from_iterable(named.items() for named in _named(one)))
    own = [name for name in attributes if name not in _VOLATILE]
    return (*own, *(attributes[name] for name in own))


def _named(one: Any) -> list[dict[str, Any]]:
    """Return the dicts of an object's attributes; a module of torch has a second one."""
    own = getattr(one, "__dict__", {})
    modules = own.get("_modules")
    return [own, modules] if isinstance(modules, dict) else [own]


def _are_same(now: tuple[Any, ...], before: tuple[Any, ...]) -> bool:
    if len(now) != len(before):
        return False
    return all(map(operator.is_, now, before)) or all(map(_is_same, now, before))


def _is_same(now: Any, before: Any) -> bool:
    # repr, because 1 == True and 0.0 == -0.0, and Keras writes each in its own way.
    is_atom = type(now) is type(before) and type(now) in _ATOMS
    return now is before or (is_atom and repr(now) == repr(before))


def _changes_in_place(one: Any) -> bool:
    """Return whether an object may change without another child, and Keras may read it."""
    kind = type(one)
    if kind in _ATOMS or isinstance(one, (type, types.FunctionType, *_CONTAINERS)):
        return isinstance(one, types.FunctionType) and bool(
            one.__name__ == "<lambda>" and one.__closure__
        )
    if kind.__module__.partition(".")[0] in ("numpy", "torch"):
        return hasattr(one, "tolist") and not any(
            base.__name__ == "Parameter" for base in kind.__mro__
        )
    reads = ("get_config", "get_build_config", "get_compile_config")
    return any(
        not is_of_keras(getattr(kind, name, None) or Look) for name in reads if hasattr(kind, name)
    )


def _computes_attributes(kind: type) -> bool:
    """Return whether a class that is not Keras's has attributes beside those of its objects.

    Keras looks for layers in all of them. Those that its own classes have, it knows.
    """
    import keras

    theirs = {*dir(keras.Model), *dir(keras.layers.Layer)}
    plain = (types.FunctionType, classmethod, staticmethod, type, *_ATOMS)
    return any(
        name in ("__getattr__", "__getattribute__", "__dir__")
        or not (name.startswith(("__", "_abc_")) or name in theirs or isinstance(value, plain))
        for base in kind.__mro__
        if not is_of_keras(base) and base.__module__.partition(".")[0] not in _LIBRARIES
        for name, value in vars(base).items()
    )

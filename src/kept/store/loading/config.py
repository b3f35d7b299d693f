"""Checks the architecture of a model: it may name parts of Keras, and no code.

Keras's safe_mode refuses Python code in a file. It still calls public functions of Keras with
arguments from the file, and some of them read files, open connections or run programs. The names
of those change with each release, so kept lists what a model may name.
"""

from __future__ import annotations

from typing import Any

from kept.errors import InvalidInput

# What they hold is a program: Python bytecode, a TensorFlow graph, a pickle.
_PROGRAMS = {"__lambda__": "a Python lambda", "TFSMLayer": "a SavedModel", "TorchModuleWrapper": ""}
_KERAS = ("keras", "tf_keras", "keras_hub", "keras_cv", "keras_nlp")
# Modules of Keras whose functions only compute.
_COMPUTING = (
    "activations",
    "constraints",
    "initializers",
    "losses",
    "metrics",
    "ops",
    "quantizers",
    "random",
    "regularizers",
)
_BUILDERS = ("deserialize", "serialize", "get")  # they make any object out of an argument


def check_config(config: Any) -> None:
    """Raise InvalidInput if a config of Keras names code, or a function that does not compute."""
    left = [config]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                _check_object(value)
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


def _check_object(value: dict[str, Any]) -> None:
    name, module = value["class_name"], value.get("module")
    is_function = name == "function"
    target = value.get("config") if is_function else name
    if not isinstance(target, str) or not isinstance(module, str | None):
        raise InvalidInput(f"its config has an object without a name: {name!r} of {module!r}")
    short = target.rpartition(">")[2].rpartition(".")[2]
    if short in _PROGRAMS:
        raise InvalidInput(f"its config holds {_PROGRAMS[short] or 'a pickle'} ({short})")
    if short in _BUILDERS or not _may_name(module or "", short, is_function=is_function):
        raise InvalidInput(f"its config calls {target!r} of {module or 'keras'!r}")
    if short == "Lambda":
        _check_lambda(value.get("config"))


def _may_name(module: str, name: str, *, is_function: bool) -> bool:
    """Return whether a config may name an object of a module.

    Keras takes objects of other modules from the classes and functions that the user registered.
    """
    package, _, rest = module.partition(".")
    if package not in _KERAS:
        return True
    if is_function:
        return rest.partition(".")[0] in _COMPUTING and name[:1].islower()
    return name[:1].isupper()  # a class; Keras returns functions by their names, too


def _check_lambda(config: Any) -> None:
    """Raise InvalidInput unless the function of a Lambda layer has a name; check that elsewhere."""
    function = config.get("function") if isinstance(config, dict) else None
    if not isinstance(function, dict) or function.get("class_name") != "function":
        raise InvalidInput("its config holds a Lambda layer with Python code")

"""Checks the architecture of a .keras file of Keras 2: it may name public classes that compute.

In its safe mode tf_keras imports any module that a config names. So each object must be a class or
function of a list, looked up here first, or one that the user has registered.
"""

from __future__ import annotations

from typing import Any

from kept.errors import InvalidInput

_NAMESPACES = (
    "constraints",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "optimizers",
    "optimizers.experimental",
    "optimizers.legacy",
    "optimizers.schedules",
    "regularizers",
)
_MODELS = ("Functional", "Model", "Sequential")
_ENGINE = ("src.engine.functional", "src.engine.sequential", "src.engine.training")
_FUNCTIONS = ("activations", "losses", "metrics")
_PROGRAMS = ("Lambda", "TFOpLambda", "TFSMLayer", "__lambda__")
_LOOKUPS = ("IntegerLookup", "StringLookup", "TextVectorization")
_VALUES = ("__bytes__", "__ellipsis__", "__numpy__", "__tensor__")
_BUILDERS = ("deserialize", "get", "serialize")


def check_config_of_keras_2(config: Any, tf_keras: Any, custom_objects: dict[str, Any]) -> None:
    """Raise InvalidInput for a config with code, a file name, or an object that is not listed.

    custom_objects are those that the user passes; tf_keras takes them, and those that the user
    registered, before it looks for any others.
    """
    left = [config]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if "class_name" in value and not _is_of_user(value, tf_keras, custom_objects):
                _check_object(value, tf_keras)
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


def _is_of_user(value: dict[str, Any], tf_keras: Any, custom_objects: dict[str, Any]) -> bool:
    """Return whether tf_keras takes the object from those of the user.

    Without a module the config has the form of old versions, which look up the class's name.
    """
    kind = value["class_name"]
    name = value.get("config") if kind == "function" else value.get("registered_name")
    if "module" not in value:
        name = kind
    if not isinstance(name, str) or kind in _PROGRAMS:
        return False
    return tf_keras.saving.get_registered_object(name, custom_objects) is not None


def _check_object(value: dict[str, Any], tf_keras: Any) -> None:
    name, module, inner = value["class_name"], value.get("module"), value.get("config")
    if not isinstance(name, str) or not isinstance(module, str | None):
        raise InvalidInput(f"its config has an object without a name: {name!r} of {module!r}")
    if name in _VALUES:
        return
    if name == "function":
        if module != "builtins" or not _is_function(inner, tf_keras):
            raise InvalidInput(f"its config calls {inner!r} of {module!r}")
        return
    if name in _PROGRAMS:
        raise InvalidInput(f"its config holds a program ({name})")
    if not _is_class(module, name, tf_keras):
        raise InvalidInput(f"its config names {name!r} of {module!r}; register it if it is yours")
    words = inner.get("vocabulary") if isinstance(inner, dict) else None
    if name in _LOOKUPS and isinstance(words, str):
        raise InvalidInput(f"its config makes {name} read the file {words!r}")


def _is_class(module: str | None, name: str, tf_keras: Any) -> bool:
    """Return whether a config may name a class; without a module it may be in any namespace."""
    package, _, rest = (module or "keras").partition(".")
    if package not in ("keras", "tf_keras"):
        return False
    if name in _MODELS and (not rest or rest in _ENGINE):
        return True
    spaces = (rest,) if rest else _NAMESPACES
    return any(_found(space, name, tf_keras) for space in spaces if space in _NAMESPACES)


def _found(space: str, name: str, tf_keras: Any) -> bool:
    at = tf_keras
    for part in space.split("."):
        at = getattr(at, part, None)
    return name[:1].isupper() and isinstance(getattr(at, name, None), type)


def _is_function(name: Any, tf_keras: Any) -> bool:
    if not isinstance(name, str) or name in _BUILDERS:
        return False
    return any(callable(getattr(getattr(tf_keras, space), name, None)) for space in _FUNCTIONS)

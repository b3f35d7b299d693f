"""kept keeps every checkpoint of a Keras training run.

`import kept` is fast: kept imports each public name at its first use. Until then it loads neither
Keras nor a framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.errors import KeptError
    from kept.exchange.exporting.export import export_model
    from kept.exchange.importing.sources import import_checkpoints
    from kept.store.artifact import Artifact
    from kept.store.content.file_source import MemoryFile
    from kept.store.open import open_store
    from kept.store.orbax.log_orbax import log_orbax
    from kept.store.origin.links import Source
    from kept.store.retention.keep import Keep
    from kept.store.store import Store
    from kept.store.version import Version
    from kept.training.callbacks.model_checkpoint import ModelCheckpoint
    from kept.training.callbacks.orbax_checkpoint import OrbaxCheckpoint
    from kept.training.callbacks.resume import resume
    from kept.training.callbacks.wandb_model_checkpoint import WandbModelCheckpoint
    from kept.training.data.dataset import Dataset
    from kept.training.verify_resume import verify_resume

    # For type checkers. At run time __getattr__ omits the names that need a missing Keras.
    __all__ = [
        "Artifact",
        "Dataset",
        "Keep",
        "KeptError",
        "MemoryFile",
        "ModelCheckpoint",
        "OrbaxCheckpoint",
        "Source",
        "Store",
        "Version",
        "WandbModelCheckpoint",
        "__version__",
        "export_model",
        "import_checkpoints",
        "log_orbax",
        "open_store",
        "resume",
        "verify_resume",
    ]

__version__ = "0.1.0.dev0"

_HOME = {
    "Artifact": "kept.store.artifact",
    "Dataset": "kept.training.data.dataset",
    "Keep": "kept.store.retention.keep",
    "KeptError": "kept.errors",
    "MemoryFile": "kept.store.content.file_source",
    "ModelCheckpoint": "kept.training.callbacks.model_checkpoint",
    "OrbaxCheckpoint": "kept.training.callbacks.orbax_checkpoint",
    "Source": "kept.store.origin.links",
    "Store": "kept.store.store",
    "Version": "kept.store.version",
    "WandbModelCheckpoint": "kept.training.callbacks.wandb_model_checkpoint",
    "export_model": "kept.exchange.exporting.export",
    "import_checkpoints": "kept.exchange.importing.sources",
    "log_orbax": "kept.store.orbax.log_orbax",
    "open_store": "kept.store.open",
    "resume": "kept.training.callbacks.resume",
    "verify_resume": "kept.training.verify_resume",
}
# The callbacks that subclass tf_keras's callbacks if tf_keras is the Keras in use.
_TF_HOME = {
    "ModelCheckpoint": "kept.training.callbacks.tf_model_checkpoint",
    "WandbModelCheckpoint": "kept.training.callbacks.tf_wandb_model_checkpoint",
}
_MODULES = ("keras", "tf_keras")  # each has the callbacks of one Keras, whichever is in use
_MISSING = {
    "keras": "needs Keras, which is not installed. Install Keras and a framework: "
    "pip install 'kept[jax]' (or torch, tensorflow). Keras alone: pip install 'kept[keras]'",
    "tf_keras": "needs tf_keras, which is not installed: pip install tf_keras",
    **{
        framework: f"needs Keras, and Keras needs {framework}, which is not installed: "
        f"pip install 'kept[{framework}]', or set KERAS_BACKEND to an installed framework "
        "(tensorflow, jax or torch)"
        for framework in ("jax", "tensorflow", "torch")
    },
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use.

    Without Keras, a name that needs Keras raises AttributeError, so hasattr, dir and pydoc work.
    Only `from kept import name` raises ModuleNotFoundError, because Python replaces the message of
    an AttributeError there with "cannot import name".
    """
    if name == "__all__":
        return list(_available())
    if name not in _HOME and name not in _MODULES:
        raise AttributeError(f"module 'kept' has no attribute {name!r}")
    try:
        value = _load(name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _MISSING:
            raise
        hint = f"kept.{name} {_MISSING[missing]}"
        if _is_from_import():
            raise ModuleNotFoundError(hint, name=missing) from error
        raise AttributeError(hint, name=name) from error
    globals()[name] = value
    return value


def _load(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"kept.{name}")
    home = _TF_HOME[name] if name in _TF_HOME and _uses_tf_keras() else _HOME[name]
    return getattr(import_module(home), name)


def _available() -> Iterator[str]:
    """Yield the public names that can be imported here; this imports Keras if it is installed."""
    import sys

    has_keras = hasattr(sys.modules[__name__], "ModelCheckpoint")
    for name in __dir__():
        if has_keras or not _HOME.get(name, "").startswith("kept.training."):
            yield name


def _is_from_import() -> bool:
    """Return whether `from kept import name` has called __getattr__."""
    import sys

    return sys._getframe(2).f_code.co_name == "_handle_fromlist"


def _uses_tf_keras() -> bool:
    """Return whether tf_keras is the Keras in use: TensorFlow's variable says so, or it is loaded.

    kept asks once for each callback, at its first use.
    """
    import os
    import sys

    is_set = os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True")  # TensorFlow's values
    return is_set or sys.modules.get("tf_keras") is not None


def __dir__() -> list[str]:
    return sorted([*_HOME, "__version__"])

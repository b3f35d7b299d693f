"""kept keeps every checkpoint of a Keras training run.

Importing kept is cheap: each public name is imported when it is first used, so neither Keras nor
a framework is loaded before it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kept.errors import KeptError
    from kept.store.open import open_store
    from kept.store.retention.keep import Keep
    from kept.store.store import Store
    from kept.store.version import Artifact, Version
    from kept.training.callbacks.model_checkpoint import ModelCheckpoint
    from kept.training.callbacks.wandb_model_checkpoint import WandbModelCheckpoint
    from kept.training.data.dataset import Dataset
    from kept.training.resume.callback import resume
    from kept.training.verify_resume import verify_resume

__all__ = [
    "Artifact",
    "Dataset",
    "Keep",
    "KeptError",
    "ModelCheckpoint",
    "Store",
    "Version",
    "WandbModelCheckpoint",
    "__version__",
    "open_store",
    "resume",
    "verify_resume",
]
__version__ = "0.1.0.dev0"

_HOME = {
    "Artifact": "kept.store.version",
    "Dataset": "kept.training.data.dataset",
    "Keep": "kept.store.retention.keep",
    "KeptError": "kept.errors",
    "ModelCheckpoint": "kept.training.callbacks.model_checkpoint",
    "Store": "kept.store.store",
    "Version": "kept.store.version",
    "WandbModelCheckpoint": "kept.training.callbacks.wandb_model_checkpoint",
    "open_store": "kept.store.open",
    "resume": "kept.training.resume.callback",
    "verify_resume": "kept.training.verify_resume",
}
# Callbacks that are subclasses of tf_keras's where that is the Keras in use.
_TF_HOME = {
    "ModelCheckpoint": "kept.training.callbacks.tf_model_checkpoint",
    "WandbModelCheckpoint": "kept.training.callbacks.tf_wandb_model_checkpoint",
}
_EXPLICIT = ("keras", "tf_keras")  # modules with the callbacks of the one or the other Keras


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _EXPLICIT:
        return import_module(f"kept.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'kept' has no attribute {name!r}")
    home = _TF_HOME[name] if name in _TF_HOME and _uses_tf_keras() else _HOME[name]
    try:
        value = getattr(import_module(home), name)
    except ModuleNotFoundError as error:
        if error.name != "keras":
            raise
        raise ModuleNotFoundError(
            f"kept.{name} needs Keras, which is not installed: pip install 'kept[keras]', and a "
            "framework (TensorFlow, JAX or torch)",
            name="keras",
        ) from error
    globals()[name] = value
    return value


def _uses_tf_keras() -> bool:
    """Return whether tf_keras is the Keras in use: TensorFlow was told so, or it is imported.

    Asked once for each callback, when it is first used.
    """
    import os
    import sys

    told = os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True")  # as TensorFlow reads it
    return told or sys.modules.get("tf_keras") is not None


def __dir__() -> list[str]:
    return __all__

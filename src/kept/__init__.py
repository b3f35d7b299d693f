"""kept keeps every checkpoint of a Keras training run.

Importing kept is cheap: each public name is imported when it is first used, so neither Keras nor
a framework is loaded before it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kept.errors import KeptError
    from kept.store.store import Store, open_store
    from kept.store.version import Artifact, Version
    from kept.training.checkpoint import ModelCheckpoint
    from kept.training.dataset import Dataset
    from kept.training.resuming import resume
    from kept.training.verifying import verify_resume

__all__ = [
    "Artifact",
    "Dataset",
    "KeptError",
    "ModelCheckpoint",
    "Store",
    "Version",
    "__version__",
    "open_store",
    "resume",
    "verify_resume",
]
__version__ = "0.1.0.dev0"

_HOME = {
    "Artifact": "kept.store.version",
    "Dataset": "kept.training.dataset",
    "KeptError": "kept.errors",
    "ModelCheckpoint": "kept.training.checkpoint",
    "Store": "kept.store.store",
    "Version": "kept.store.version",
    "open_store": "kept.store.store",
    "resume": "kept.training.resuming",
    "verify_resume": "kept.training.verifying",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'kept' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

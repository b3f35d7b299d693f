"""The formats of a checkpoint: the ending of filepath chooses one; unusable ones are errors."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from typing import Any

from kept.errors import InvalidCheckpoint


@dataclass(frozen=True, slots=True)
class Format:
    """The layout of a checkpoint on the disk."""

    name: str  # in the metadata
    noun: str  # in messages
    is_folder: bool = False
    is_prefix: bool = False  # several files whose names have the same beginning
    options: str | None = None  # the class in tf that Keras's argument options may have

    @property
    def is_file(self) -> bool:
        """Whether it is one file; only a file can be written from a snapshot, and resumed from."""
        return not self.is_folder and not self.is_prefix


KERAS = Format("keras", "a .keras file")
H5 = Format("h5", "an .h5 file")
WEIGHTS = Format("weights.h5", "a .weights.h5 file")
H5_WEIGHTS = Format("h5_weights", "an .h5 file of weights")  # of Keras 2
SAVED_MODEL = Format(
    "saved_model", "a SavedModel", is_folder=True, options="saved_model.SaveOptions"
)
TF_CHECKPOINT = Format(
    "tf_checkpoint", "a TensorFlow checkpoint", is_prefix=True, options="train.CheckpointOptions"
)
_TF_ENDINGS = ("", ".ckpt")  # as in the tutorials of Keras 2

# tf_keras takes these for files, too, and ignores them there.
_MODEL_OPTIONS, _WEIGHTS_OPTIONS = str(SAVED_MODEL.options), str(TF_CHECKPOINT.options)
_IGNORED = {H5: _MODEL_OPTIONS, H5_WEIGHTS: _WEIGHTS_OPTIONS, WEIGHTS: _WEIGHTS_OPTIONS}


class WrongOptions(InvalidCheckpoint, TypeError):
    """Keras's argument options has another type; Keras raises a TypeError."""


def choose_format(template: str, package: str, framework: str, *, weights_only: bool) -> Format:
    """Return the format of a filepath; raises InvalidCheckpoint, and suggests a usable format.

    package is the Keras that writes it, "keras" or "tf_keras"; framework is the one it runs on.
    """
    ending = _ending(template)
    if weights_only:
        return _of_weights(template, ending, package, framework)
    return _of_model(template, ending, package, framework)


def check_options(options: Any, format: Format, package: str) -> None:
    """Raise InvalidCheckpoint if the format does not take the argument options."""
    if options is None:
        return
    received = f"Received: options={options!r}"
    ignored = _IGNORED.get(format) if package == "tf_keras" else None
    expected = format.options or ignored
    if expected is None:
        raise InvalidCheckpoint(
            f"{format.noun} takes no options. A SavedModel (filepath without an ending) takes a "
            "tf.saved_model.SaveOptions, and a TensorFlow checkpoint (the same with "
            f"save_weights_only=True) a tf.train.CheckpointOptions. {received}"
        )
    import tensorflow as tf

    module, name = expected.split(".")
    if not isinstance(options, getattr(getattr(tf, module), name)):
        raise WrongOptions(f"For {format.noun}, options is a tf.{expected} or None. {received}")


def _ending(template: str) -> str:
    """Return the ending of the file's name, without placeholders such as {val_loss:.2f}."""
    name = re.sub(r"\{[^{}]*\}", "", os.path.basename(template))
    return os.path.splitext("x" + name)[1] if name.strip(".") else ""


def _of_model(template: str, ending: str, package: str, framework: str) -> Format:
    if package == "tf_keras" and template.endswith(".hdf5"):
        return H5
    known = {".keras": KERAS, ".h5": H5}
    if ending in known and not template.endswith(".weights.h5"):
        return known[ending]
    is_legacy = package == "tf_keras"
    if ending == "" or (is_legacy and not template.endswith(".weights.h5")):
        return _saved_model(template, framework)
    raise InvalidCheckpoint(
        "The filepath provided must end in .keras (or .h5), or in nothing for a SavedModel; with "
        f"save_weights_only=True in .weights.h5. Received: filepath={template!r}"
    )


def _saved_model(template: str, framework: str) -> Format:
    reason = None
    if framework not in ("tensorflow", "jax"):
        reason = f"Keras cannot reliably export one from {framework}"
    elif importlib.util.find_spec("tensorflow") is None:
        reason = "TensorFlow, which writes it, is not installed"
    if reason is not None:
        raise InvalidCheckpoint(
            f"A filepath without an ending is a SavedModel, and {reason}. It must end in .keras "
            f"here, such as {template + '.keras'!r}. Received: filepath={template!r}"
        )
    return SAVED_MODEL


def _of_weights(template: str, ending: str, package: str, framework: str) -> Format:
    if template.endswith(".weights.h5"):
        return WEIGHTS
    if package == "tf_keras":  # any name is taken, and these endings mean HDF5
        return H5_WEIGHTS if template.endswith((".h5", ".hdf5", ".keras")) else TF_CHECKPOINT
    if framework == "tensorflow" and ending in _TF_ENDINGS:
        return TF_CHECKPOINT
    also = hint = ""
    if framework == "tensorflow":
        also = " (or in nothing, for a TensorFlow checkpoint)"
    elif ending in _TF_ENDINGS:
        hint = f" {framework} has no TensorFlow checkpoints."
    raise InvalidCheckpoint(
        f"With save_weights_only=True the filepath provided must end in .weights.h5{also}.{hint} "
        f"Received: filepath={template!r}"
    )

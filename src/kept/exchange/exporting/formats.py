"""The formats of an export: which frameworks can write them, and with which packages.

These facts were observed with Keras 3.15.1, JAX 0.10.2, torch 2.13.0 and TensorFlow 2.21.0:

* Keras exports no SavedModel from torch: torch.export rejects the shapes that Keras passes to it.
* OpenVINO does not convert what Keras exports from JAX: it has no rule for XlaCallModule.
* From torch, Keras writes ONNX by TorchScript if an input has an open dimension.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field

from kept.errors import InvalidInput

_JAX2ONNX_SINCE = (3, 15)  # the first tested Keras that needs it; earlier ones use tf2onnx


@dataclass(frozen=True)
class Format:
    """A format of an export."""

    name: str  # as users write it
    noun: str  # in messages
    ending: str  # of its file; empty for a folder
    keras_name: str = ""  # of Model.export
    beside: tuple[str, ...] = ()  # endings of further files
    packages: dict[str, tuple[str, ...]] = field(default_factory=dict)  # framework -> import names
    why_not: dict[str, str] = field(default_factory=dict)  # framework -> reason

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of files."""
        return not self.ending


FORMATS = {
    found.name: found
    for found in (
        Format("weights", "a file of weights", ".weights.h5"),
        Format("keras", "a .keras file", ".keras"),
        Format(
            "saved_model", "a SavedModel", "", "tf_saved_model",
            packages={"tensorflow": (), "jax": ("tensorflow",)},
            why_not={"torch": "Keras cannot export one from torch"},
        ),
        Format(
            "onnx", "an ONNX file", ".onnx", "onnx",
            packages={
                "tensorflow": ("onnx", "tf2onnx"), "jax": ("jax2onnx",),
                "torch": ("onnx", "onnxscript"),
            },
        ),
        Format(
            "litert", "a LiteRT file", ".tflite", "litert",
            packages={"tensorflow": (), "torch": ("litert_torch",)},
            why_not={"jax": "Keras cannot export one from jax"},
        ),
        Format(
            "openvino", "a model of OpenVINO", ".xml", "openvino", beside=(".bin",),
            packages={"tensorflow": ("openvino",), "torch": ("openvino",)},
            why_not={"jax": "OpenVINO cannot convert what Keras exports from jax"},
        ),
    )
}  # fmt: skip


def format_of(name: str) -> Format:
    """Return the format of a name; raises InvalidInput."""
    if name in FORMATS:
        return FORMATS[name]
    raise InvalidInput(f"format is one of {', '.join(FORMATS)}. Received: format={name!r}")


def check_framework(format: Format, framework: str, keras_version: str) -> None:
    """Raise InvalidInput if a framework cannot write a format, or lacks a package for it."""
    if framework not in format.packages:
        why = format.why_not.get(framework, f"Keras cannot export one from {framework}")
        others = " or ".join(f"KERAS_BACKEND={name}" for name in format.packages)
        raise InvalidInput(
            f"{format.noun} cannot be written: {why}. A .keras file can be loaded with another "
            f"framework: set {others}. Received: format={format.name!r}"
        )
    needed = format.packages[framework]
    if needed == ("jax2onnx",) and _numbers(keras_version) < _JAX2ONNX_SINCE:
        needed = ("onnx", "tf2onnx", "tensorflow")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        install = " ".join(name.replace("_", "-") for name in missing)
        raise InvalidInput(
            f"{format.noun} needs {' and '.join(missing)} with {framework}: pip install {install}. "
            f"Received: format={format.name!r}"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())

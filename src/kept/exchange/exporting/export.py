"""Exports a version: by Keras's own exporters, or its weights alone."""

from __future__ import annotations

import contextlib
import re
import tempfile
import warnings
from typing import TYPE_CHECKING, Any

from kept.errors import ExportFailed, InvalidInput, KeptError
from kept.exchange.exporting.formats import check_framework, format_of
from kept.exchange.exporting.place import Place
from kept.exchange.exporting.weights import can_take, write_weights

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from kept.exchange.exporting.formats import Format
    from kept.store.version import Version

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # in messages of Keras
_LONGEST = 500  # characters of an exporter's message
# What Keras says of a class, a layer or a function that it does not know.
_IS_UNKNOWN = re.compile(r"Could not locate (?:class|function)|Unknown (?:layer|object)")
_OWN_CLASSES = (
    "Keras does not know one of its classes or functions. Name the module that registers it with "
    "--module; in Python pass custom_objects=. "
)


def export_model(  # noqa: PLR0913 - public: how the model is loaded, and how it is written
    version: Version,
    path: str | os.PathLike[str] | None = None,
    format: str = "saved_model",
    *,
    force: bool = False,
    safe_mode: bool = True,
    custom_objects: Mapping[str, Any] | None = None,
    **options: Any,
) -> Path:
    """Write the model of a version in another format; return its path.

    The model is loaded as Version.load_model does, without the optimizer. "weights" needs no Keras
    if the version holds a .keras or .weights.h5 file. The file is complete or missing.

    Args:
        version: The version.
        path: The file, or the folder of a SavedModel. By default NAME-vN with the ending of the
            format, in the current folder.
        format: "weights" (a .weights.h5 file), "keras", "saved_model", "onnx", "litert" or
            "openvino".
        force: Replace what has the path.
        safe_mode: False also loads models that contain Python code: for trusted stores only.
        custom_objects: The classes and functions of the model, as keras.saving.load_model takes.
        options: What Keras's Model.export takes, such as opset_version or input_signature.

    Raises:
        InvalidInput: The framework cannot write the format, or a package is missing.
        InvalidPath: The path has another ending, or exists.
        ExportFailed: Keras could not load or export the model.
        Damaged: The version cannot be read.
    """
    wanted = format_of(format)
    place = Place(path or default_path(version, wanted), wanted, force=force)
    keras_options = {"safe_mode": safe_mode, "custom_objects": custom_objects, "compile": False}
    if not wanted.keras_name and options:
        raise InvalidInput(f"{wanted.noun} has no options. Received: {', '.join(options)}")
    if wanted.name == "weights" and _take_weights(version, place):
        return place.path
    if wanted.keras_name:
        _check_keras(wanted)
    model = _loaded(version, keras_options)
    with place.written() as out, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # exporters warn of their own insides
        try:
            _write(model, out, wanted, options)
        except (KeptError, OSError):
            raise
        except Exception as error:
            raise _failed(version, f"exported as {wanted.noun}", error) from error
    return place.path


def default_path(version: Version, format: Format) -> str:
    """Return the path of an export without a path."""
    return f"{version.name}-{version.version}{format.ending}"


def _check_keras(format: Format) -> None:
    with _missing_named():
        import keras

    check_framework(format, keras.backend.backend(), keras.__version__)


@contextlib.contextmanager
def _missing_named() -> Iterator[None]:
    """Raise InvalidInput if Keras or its framework is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "keras").partition(".")[0]
        install = "Install Keras and a framework: pip install 'kept[jax]' (or torch, tensorflow)"
        if name not in ("keras", "jax", "torch", "tensorflow"):
            install = f"pip install {name}"
        raise InvalidInput(
            f"This export needs {name}, which is not installed. {install}"
        ) from error


def _take_weights(version: Version, place: Place) -> bool:
    """Write the weights without Keras; return False if the version needs Keras for that."""
    paths = [file.path for file in version.files]
    whole = [path for path in paths if path.endswith((".keras", ".weights.h5"))]
    if len(whole) != 1 or version.metadata.get("format") == "h5_weights":
        return False
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        file = version.download(folder) / whole[0]
        if not can_take(file):
            return False
        with place.written() as out:
            try:
                write_weights(file, out)
            except InvalidInput as error:
                raise InvalidInput(
                    f"{version.reference} is not exported, because {error}"
                ) from None
    return True


def _loaded(version: Version, keras_options: dict[str, Any]) -> Any:
    try:
        with _missing_named():
            return version.load_model(**keras_options)
    except (KeptError, OSError):
        raise
    except Exception as error:
        raise _failed(version, "loaded", error) from error


def _write(model: Any, out: str, format: Format, options: dict[str, Any]) -> None:
    if format.name == "weights":
        model.save_weights(out)
    elif format.name == "keras":
        model.save(out)
    elif type(model).__module__.startswith("tf_keras"):
        if format.name != "saved_model" or options:
            raise InvalidInput(
                f"tf_keras exports only a SavedModel, without options. "
                f"Received: format={format.name!r}"
            )
        model.export(out)
    else:
        _call_once(model)
        model.export(out, format=format.keras_name, verbose=False, **options)


def _call_once(model: Any) -> None:
    """Call a model on zeros: Keras exports no ONNX from a model that was never called.

    A model without known inputs needs the option input_signature.
    """
    import keras

    inputs = [_zeros(t.shape, t.dtype) for t in getattr(model, "inputs", None) or ()]
    shape = (model.get_build_config() or {}).get("input_shape")  # of a class of the user
    if not inputs and isinstance(shape, (list, tuple)):
        with contextlib.suppress(ValueError, TypeError):  # of several inputs
            inputs = [_zeros(shape, keras.config.floatx())]
    if inputs:
        model(inputs[0] if len(inputs) == 1 else inputs, training=False)


def _zeros(shape: Sequence[int | None], dtype: str) -> Any:
    import keras

    return keras.ops.zeros([size or 1 for size in shape], dtype)


def _failed(version: Version, done: str, error: Exception) -> ExportFailed:
    text = " ".join(_COLOUR.sub("", str(error)).split())
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    advice = _OWN_CLASSES if _IS_UNKNOWN.search(str(error)) else ""
    return ExportFailed(
        f"{version.reference} cannot be {done}: {advice}{type(error).__name__}: {text}"
    )

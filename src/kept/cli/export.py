"""kept export: writes the model of a version in another format."""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

import click

from kept.cli.common import json_option, opened, print_result
from kept.cli.completion import references
from kept.errors import InvalidInput
from kept.progress import progress
from kept.units import size_text

_FORMATS = ("weights", "keras", "saved_model", "onnx", "litert", "openvino")


def _key_and_value(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key.isidentifier() or not equals:
            raise click.BadParameter(f"Write it as KEY=VALUE. Received: {text!r}")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


@click.command()
@click.argument("ref", shell_complete=references)
@click.option(
    "--to", "format", type=click.Choice(_FORMATS), required=True,
    help="The format. weights is a .weights.h5 file without the optimizer, keras the whole model "
    "without it.",
)  # fmt: skip
@click.option(
    "--out", "path", type=click.Path(), metavar="PATH",
    help="The file, or the folder of a SavedModel. Default: NAME-vN with the format's ending.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace what has the path.")
@click.option("--opset", type=click.IntRange(1), help="The version of ONNX's operators.")
@click.option(
    "options", "-o", "--option", multiple=True, metavar="KEY=VALUE", callback=_key_and_value,
    help="An option of Keras's Model.export, JSON or else text; can be given several times.",
)  # fmt: skip
@click.option(
    "modules", "--module", multiple=True, metavar="MODULE",
    help="A Python module to import first, which registers the classes of the model.",
)  # fmt: skip
@click.option(
    "--unsafe", is_flag=True,
    help="Load a model that contains Python code, which then runs. Only if you trust everyone who "
    "can write the store.",
)  # fmt: skip
@json_option
@click.pass_obj
def export(
    location: str | None,
    /,
    ref: str,
    *,
    format: str,
    as_json: bool,
    options: dict[str, Any],
    **rest: Any,
) -> None:
    """Write the model of a version in another format.

    Keras loads the model and exports it, with the framework that KERAS_BACKEND names.
    """
    version = opened(location).version(ref)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    _import(rest["modules"])
    from kept.exchange.exporting.export import export_model

    if (opset := rest["opset"]) is not None:
        if format != "onnx":
            raise click.UsageError(f"--opset is an option of --to onnx. Received: --to {format}")
        options = options | {"opset_version": opset}
    safe = not rest["unsafe"]
    with progress(f"Exporting {version.reference}"):
        path = export_model(
            version, rest["path"], format, force=rest["force"], safe_mode=safe, **options
        )
    size = _size(str(path))
    text = f"{version.reference} as {format}: {path} ({size_text(size)})"
    shape = {"reference": version.reference, "format": format, "path": str(path), "size": size}
    print_result(text, shape, as_json=as_json)


def _import(modules: tuple[str, ...]) -> None:
    """Import modules, also from the current folder; raises InvalidInput."""
    if modules and "" not in sys.path:
        sys.path.insert(0, "")
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InvalidInput(f"--module {name} cannot be imported: {error}") from None


def _size(path: str) -> int:
    if not os.path.isdir(path):
        return os.path.getsize(path)
    return sum(
        os.path.getsize(os.path.join(where, name))
        for where, _, names in os.walk(path)
        for name in names
    )

"""Draws specifications: as SVG, as PNG, and the script that draws them in a browser.

This is the one module that imports vl_convert.

A page with `script-src 'self'; style-src 'self'` draws a chart with the bundle and this call:

    vegaEmbed(element, spec, {
      ast: true, actions: false, defaultStyle: false, renderer: "svg",
      tooltip: {disableDefaultStyle: true},
    })
"""

from __future__ import annotations

import contextlib
import os
import uuid
from functools import cache
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidInput
from kept.workspace import cache_folder

if TYPE_CHECKING:
    from kept.charts.look import Spec

_NOTHING_FROM_ELSEWHERE: list[str] = []


def can_draw() -> bool:
    """Return whether charts can be drawn here."""
    from importlib.util import find_spec

    return find_spec("vl_convert") is not None


def svg(spec: Spec) -> str:
    """Return a chart as the text of an SVG; raises InvalidInput without vl-convert."""
    return str(_library().vegalite_to_svg(spec, allowed_base_urls=_NOTHING_FROM_ELSEWHERE))


def png(spec: Spec, scale: float = 2) -> bytes:
    """Return a chart as a PNG; scale is pixels per unit. Raises InvalidInput as svg does.

    It has the background of its theme, because vl-convert 1.9 writes wrong colours for pixels that
    are half transparent.
    """
    spec = {**spec, "background": spec.get("usermeta", {}).get("surface", "#ffffff")}
    drawn = _library().vegalite_to_png(spec, scale=scale, allowed_base_urls=_NOTHING_FROM_ELSEWHERE)
    return bytes(drawn)


@cache
def bundle() -> bytes:
    """Return the script for browsers, 0.9 MB, which sets window.vegaEmbed, vega and vegaLite.

    It is made once, in about a second, and then lies in the user's cache folder. Raises
    InvalidInput without vl-convert.
    """
    library = _library()
    path = os.path.join(cache_folder(), f"vega-{library.__version__}.js")
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read()
    made: bytes = library.javascript_bundle().encode()
    with contextlib.suppress(OSError):  # a folder that cannot be written costs a second
        os.makedirs(cache_folder(), mode=0o700, exist_ok=True)
        beside = f"{path}.{uuid.uuid4().hex}"
        with open(beside, "wb") as file:
            file.write(made)
        os.replace(beside, path)
    return made


def _library() -> Any:
    try:
        import vl_convert
    except ImportError as error:
        raise InvalidInput(
            "Charts need vl-convert. Install it: pip install 'kept[plot]' (for kept ui: "
            f"'kept[web]'). The import failed with: {error}"
        ) from None
    return vl_convert

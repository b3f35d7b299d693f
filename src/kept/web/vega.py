"""The script that draws charts in a browser: a file among the assets of the page."""

from __future__ import annotations

import functools
import re
from importlib.metadata import PackageNotFoundError, version

from kept.charts.render import bundle, can_draw

_YEAR = 31_536_000  # seconds
CACHED = {"Cache-Control": f"public, max-age={_YEAR}, immutable"}  # its version is in its name


@functools.cache
def file_name() -> str | None:
    """Return the name of the script, None if the package that has it is not installed."""
    if not can_draw():
        return None
    try:
        found = version("vl-convert-python")
    except PackageNotFoundError:  # installed in another way
        found = "1"
    return f"vega-{re.sub('[^0-9A-Za-z.]', '', found)}.js"


def script() -> bytes:
    """Return the script, 0.9 MB; raises InvalidInput without the package."""
    return b"(() => {\n" + bundle() + b"\n})();"  # its short names are not those of the page

"""The bars of what each version takes: new bytes, shared ones, and saved ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.charts.look import USUAL, Look, Spec, framed, label, titled
from kept.units import size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kept.charts.rows import Stored

_KINDS = ("new", "shared", "saved")
_OPACITIES = [0.9, 0.35, 0.0]
_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "B"))
_MOST = 200  # versions


def storage_bars(rows: Sequence[Stored], title: str = "Storage", look: Look = USUAL) -> Spec:
    """Return a bar for each version: new bytes below, shared above, and saved ones hollow.

    Of many versions the newest ones are shown.
    """
    shown = rows[-_MOST:]
    largest = max((row.new + row.shared + row.saved for row in shown), default=1)
    unit, unit_name = next((u for u in _UNITS if largest >= u[0]), _UNITS[-1])
    values = [bar for row in shown for bar in _bars(row, unit)]
    new = sum(row.new for row in shown)
    shared, saved = sum(row.shared for row in shown), sum(row.saved for row in shown)
    said = f"{size_text(new)} new (full), {size_text(shared)} shared (pale)"
    said += f", {size_text(saved)} saved (hollow)" if saved else ""
    notes = [said]
    if len(shown) < len(rows):
        notes.append(f"The newest {len(shown)} of {len(rows):,} versions.")
    colour = look.theme.series[0]
    return framed(
        look,
        f"{title} of {len(rows)} versions: {said}",
        title=titled(title, notes),
        data={"values": values},
        mark={"type": "bar", "strokeWidth": 1, "fill": colour, "stroke": colour, "opacity": 1},
        encoding={
            "x": {"field": "x", "type": "nominal", "title": "version", "sort": None,
                  "axis": {"labelAngle": 0}},
            "y": {"field": "b", "type": "quantitative", "title": f"bytes ({unit_name})",
                  "stack": "zero", "axis": {"tickCount": 5}},
            "order": {"field": "o", "type": "quantitative"},
            "fillOpacity": {"field": "k", "type": "ordinal", "legend": None,
                            "scale": {"type": "ordinal", "domain": list(_KINDS),
                                      "range": _OPACITIES}},
            "tooltip": [
                {"field": key, "type": "nominal", "title": name}
                for key, name in (("x", "version"), ("n", "new"), ("h", "shared"), ("s", "saved"))
            ],
        },
    )  # fmt: skip


def _bars(row: Stored, unit: int) -> Iterator[Spec]:
    sizes = (row.new, row.shared, row.saved)
    texts = {key: size_text(size) for key, size in zip("nhs", sizes, strict=True)}
    for order, (kind, size) in enumerate(zip(_KINDS, sizes, strict=True)):
        if size:
            yield {"x": label(row.version), "k": kind, "o": order, "b": size / unit, **texts}

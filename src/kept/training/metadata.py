"""Metrics as the metadata of a version can hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kept.training.monitor import scalar

if TYPE_CHECKING:
    from collections.abc import Mapping


def numbers_or_texts(logs: Mapping[str, Any]) -> dict[str, float | str]:
    """Return metrics as JSON can hold them."""
    return {name: _number_or_text(metric) for name, metric in logs.items()}


def _number_or_text(metric: Any) -> float | str:
    value = scalar(metric)
    return str(metric) if value is None else value

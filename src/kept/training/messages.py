"""Where messages go; see kept.messages."""

from __future__ import annotations

from kept.messages import print_text, show, show_once

__all__ = ["print_text", "show", "show_once"]

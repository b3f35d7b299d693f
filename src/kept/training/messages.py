"""Where messages go: where Keras's own callbacks print."""

from __future__ import annotations

import keras


def show(text: str) -> None:
    """Show a message of kept to the user."""
    print_text(f"kept: {text}")


def print_text(text: str) -> None:
    """Print, or log where Keras was told to log."""
    if keras.config.is_interactive_logging_enabled():
        print(text, flush=True)  # noqa: T201 - where Keras's own callbacks print
    else:
        import logging

        logging.getLogger("kept").info(text.strip())

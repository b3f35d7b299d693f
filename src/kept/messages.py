"""Where messages go: where Keras's own callbacks print."""

from __future__ import annotations

import sys

_said: set[str] = set()


def show(text: str) -> None:
    """Show a message of kept to the user."""
    print_text(f"kept: {text}")


def show_once(text: str) -> None:
    """Show a message unless this process has shown it already."""
    if text not in _said:
        _said.add(text)
        show(text)


def print_text(text: str) -> None:
    """Print, or log where Keras was told to log."""
    if _is_interactive():
        print(text, flush=True)  # noqa: T201 - where Keras's own callbacks print
    else:
        import logging

        logging.getLogger("kept").info(text.strip())


def _is_interactive() -> bool:
    """Return what Keras was told; the edition that is not loaded was told nothing."""
    keras, tf_keras = sys.modules.get("keras"), sys.modules.get("tf_keras")
    told = [
        *([keras.config.is_interactive_logging_enabled()] if keras else []),
        *([tf_keras.utils.is_interactive_logging_enabled()] if tf_keras else []),
    ]
    return all(told)

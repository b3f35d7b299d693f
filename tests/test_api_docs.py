"""docs/api.md, which a tool writes from the docstrings."""

import os
import subprocess
import sys
from pathlib import Path

from tools.markdown import markdown

import kept

ROOT = Path(__file__).resolve().parent.parent


def test_the_page_of_public_names_is_complete_and_up_to_date():
    """Also: every public name, method and property has a docstring."""
    environment = os.environ | {"KERAS_BACKEND": "jax", "TF_USE_LEGACY_KERAS": "0"}
    command = [sys.executable, "-m", "tools.api_docs", "--check"]
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, f"{run.stderr}\nAfter a change of docstrings, run: make docs"


def test_the_page_has_every_public_name():
    lines = set((ROOT / "docs/api.md").read_text().splitlines())
    for name in {*dir(kept)} - {"KeptError", "__version__"}:  # the first has a list item
        assert f"### {name}" in lines
    for member in ("log_artifact", "set_alias", "versions", "usage", "compact", "verify", "gc"):
        assert f"#### Store.{member}" in lines
    for member in ("download", "load_model", "load_weights", "metadata", "aliases"):
        assert f"#### Version.{member}" in lines


def test_docstrings_become_markdown():
    text = """Do it with <this> and _that_, as `a_<b>` says.

Args:
    name: A text that
        continues.
    *rest: More.

Raises:
    KeptError: Always."""
    assert markdown(text).splitlines() == [
        r"Do it with \<this> and \_that\_, as `a_<b>` says.",
        "",
        "**Arguments**",
        "",
        "* `name`: A text that continues.",
        "* `*rest`: More.",
        "",
        "**Raises**",
        "",
        "* `KeptError`: Always.",
    ]

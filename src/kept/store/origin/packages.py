"""The installed packages: the versions of those that matter for a run, and a digest of all."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

from kept.digest import digest

if TYPE_CHECKING:
    from kept.store.encoding import Json

_FOLDER = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)(-py[\d.]+)?\.(dist|egg)-info")
_MAIN = (
    "kept", "keras", "tf-keras", "jax", "jaxlib", "torch", "tensorflow", "numpy", "flax", "optax",
    "orbax-checkpoint", "keras-hub", "keras-cv", "keras-nlp", "transformers", "tokenizers",
    "datasets", "tensorflow-datasets", "grain", "pandas", "scikit-learn", "wandb",
)  # fmt: skip


def installed() -> dict[str, str]:
    """Return the versions of all installed packages by their names, as pip normalizes these.

    The names of the folders on sys.path say it all, so no file is read.
    """
    found: dict[str, str] = {}
    for place in sys.path:
        try:
            names = sorted(os.listdir(place or "."))
        except OSError:  # a zip file, or a folder that is missing
            continue
        for name in names:
            if match := _FOLDER.fullmatch(name):
                plain = re.sub(r"[-_.]+", "-", match["name"]).lower()
                found.setdefault(plain, match["version"])  # the first on the path is imported
    return found


def package_facts() -> dict[str, Json]:
    """Return the versions of the main packages, and a digest of the names and versions of all."""
    every = installed()
    text = "".join(f"{name}=={every[name]}\n" for name in sorted(every))
    versions = {name: every[name] for name in _MAIN if name in every}
    return {"digest": digest(text.encode()), "versions": versions}

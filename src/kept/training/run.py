"""What a run is called, and so what its checkpoints are called if nobody says."""

from __future__ import annotations

import functools
import os
import re


def default_artifact_name() -> str:
    """Return run_<run id>_model, as W&B's callback names its artifact."""
    return artifact_name_of(run_id())


def artifact_name_of(run_id: str) -> str:
    """Return the artifact's name for a run, whose id W&B allows a few more characters."""
    return f"run_{re.sub(r'[^A-Za-z0-9._-]', '-', run_id)[:100]}_model"


def run_id() -> str:
    """Return $WANDB_RUN_ID, or an id of eight characters made up once for this process."""
    return os.environ.get("WANDB_RUN_ID") or _made_up()


def is_named() -> bool:
    """Return whether somebody named the run, so that it can be one that was begun earlier."""
    return bool(os.environ.get("WANDB_RUN_ID"))


@functools.cache
def _made_up() -> str:
    return os.urandom(4).hex()

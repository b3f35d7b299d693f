"""Checkpoints of other tools come in, and versions go out in other formats."""

"""Checkpoints of other programs become versions."""

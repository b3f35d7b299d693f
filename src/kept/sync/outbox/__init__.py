"""Checkpoints that wait on the disk until a destination has confirmed them."""

"""Copies of a model's variables in host memory; making one is the only stall of a checkpoint."""

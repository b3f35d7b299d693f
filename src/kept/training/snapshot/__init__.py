"""The host copy of a model's variables, the only stall of a checkpoint."""

"""The health of checkpoints: which tensors a model has, and what is measured of them."""

"""Whether the values of a version's tensors are sound."""

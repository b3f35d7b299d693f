"""Conditions on versions, such as "framework = jax and test_acc > 0.9"."""

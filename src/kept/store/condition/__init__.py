"""Conditions such as `test_acc > 0.9`."""

"""Ratios against the floor of this machine; `python -m benchmarks.NAME` runs one."""

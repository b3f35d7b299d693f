"""Compares versions by their metrics."""

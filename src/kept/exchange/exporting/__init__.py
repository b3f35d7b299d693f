"""Versions go out in formats of other programs."""

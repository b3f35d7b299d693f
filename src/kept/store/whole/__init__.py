"""Removes, renames and copies whole artifacts."""

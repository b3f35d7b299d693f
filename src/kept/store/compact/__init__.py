"""Stores versions in less room; their content stays the same."""

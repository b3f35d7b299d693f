"""Adds metrics and descriptions to versions."""

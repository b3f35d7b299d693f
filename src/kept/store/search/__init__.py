"""Finds versions across artifacts with a derived index."""

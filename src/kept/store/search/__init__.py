"""Finds versions in all artifacts of a store, with a derived index or without."""

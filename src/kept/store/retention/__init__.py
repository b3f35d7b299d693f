"""Decides which versions are kept, and deletes the others."""

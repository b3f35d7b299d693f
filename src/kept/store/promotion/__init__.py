"""Promotes versions, and shows who changed what."""

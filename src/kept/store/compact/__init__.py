"""Stores versions in less room, while what they hold stays the same."""

"""Watches stores, and reports their events to commands and servers."""

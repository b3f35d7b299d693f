"""Runs of several real processes on this machine's loopback."""

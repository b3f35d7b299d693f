"""Suites that damage, kill and forge, and count what becomes of it; docs/reliability.md."""

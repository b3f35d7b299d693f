"""Artifacts, versions and aliases in a bucket; docs/format.md specifies how they are stored."""

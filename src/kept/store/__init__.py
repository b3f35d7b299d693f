"""Artifacts, versions and aliases in a bucket; docs/format.md says how they are stored."""

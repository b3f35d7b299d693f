"""Reads blobs again, to find damage before a reader does: all, a sample, or beside a training."""

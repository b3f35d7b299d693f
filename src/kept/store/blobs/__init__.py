"""Blobs: the stored bytes of chunks, raw or coded, named by the digest of the raw bytes."""

"""Deletes the blobs and manifests that no version needs."""

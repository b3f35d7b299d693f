"""The content of a version: files, cut into chunks, listed by a manifest."""

"""The tensors of versions and of files on disk."""

"""Stores bytes under keys: in a local folder, in object storage, or in this process's memory."""

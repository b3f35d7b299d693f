"""What a server has read of a store, and keeps until a log changes."""

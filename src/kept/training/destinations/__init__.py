"""Where checkpoints go: a store, a store in object storage, or W&B."""

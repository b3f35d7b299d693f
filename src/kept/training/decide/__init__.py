"""When a checkpoint is saved, and whether it is the best."""

"""Pages that move: one watcher of the store, and the events that open pages get from it."""

"""Pages that move: one notifier of the store, and the events that open pages get from it."""

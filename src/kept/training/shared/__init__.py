"""One checkpoint whose bytes several processes hold: it becomes an ordinary version."""

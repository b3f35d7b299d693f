"""Charts: what they show, and their renderings."""

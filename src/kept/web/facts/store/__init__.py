"""What the first page shows: each artifact in a row, the search, and what waits elsewhere."""

"""A second destination for committed versions: copying (sync), what is left to copy (outbox)."""

"""Copies of committed versions elsewhere: in another store, or in W&B."""

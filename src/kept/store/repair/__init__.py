"""Brings back what a store has lost, from its own redundancy and from copies."""

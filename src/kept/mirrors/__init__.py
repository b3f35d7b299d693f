"""Destinations beside the store: mirrors, and what lies in the outbox until it is confirmed."""

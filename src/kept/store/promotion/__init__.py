"""Aliases that people decide about: promotion, protection, rollback and history."""

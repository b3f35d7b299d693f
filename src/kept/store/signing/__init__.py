"""Signatures of versions, with the keys of OpenSSF model signing."""

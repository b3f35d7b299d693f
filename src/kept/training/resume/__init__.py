"""The state of a run: how it is saved, and how a fit continues from it."""

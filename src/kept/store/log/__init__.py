"""The numbered records of an artifact, and what they add up to."""

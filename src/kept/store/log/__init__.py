"""The numbered records of an artifact, and the versions they add up to."""

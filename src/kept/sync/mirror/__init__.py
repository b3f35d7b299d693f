"""A second store that gets each version after its commit."""

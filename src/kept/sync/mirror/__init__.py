"""A second store that receives each version after its commit."""

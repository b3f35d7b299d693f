"""Where a version comes from: code, environment, parents and sources."""

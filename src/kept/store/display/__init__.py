"""What notebooks show of stores, artifacts, versions and diffs."""

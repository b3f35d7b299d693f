"""What the comparison of versions shows."""

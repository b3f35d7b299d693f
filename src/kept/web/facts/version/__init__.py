"""What the page of a version shows."""

"""What the page of an artifact shows."""

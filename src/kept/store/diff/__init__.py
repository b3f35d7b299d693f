"""What differs between two versions, or files."""

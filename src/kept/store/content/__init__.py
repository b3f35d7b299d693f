"""What a version holds: files, cut into chunks, listed by a manifest."""

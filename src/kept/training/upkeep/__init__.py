"""What follows a commit: retention, gc, local files, compaction."""

"""What is stored of chunks: raw or coded, named by the digest of the raw bytes."""
